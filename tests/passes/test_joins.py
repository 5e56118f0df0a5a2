"""Operators in which several encrypted values meet: at one look-up each, near the floats."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lutra.ir.analysis import pbs_by_bits, pbs_count
from lutra.ir.core import Module, Value
from lutra.ir.ops import MatMul, Max, MulClear
from lutra.ir.program import Program
from lutra.passes import Context, Pipeline
from lutra.testing.nets import Net

WIDE = "default{rounding=7,split=none}"
NARROW = "default{weights=4,activations=4,inputs=6,rounding=none,margin=none}"
ELEMENTS = 6


def sums(net: Net) -> Value:
    return net.dense(net.x[0], ELEMENTS)


def levels(net: Net) -> Value:
    """Few bits: the result of a function."""
    return net.add("Relu", sums(net))


def compiled(net: Net, y: Value, road: str = WIDE) -> tuple[Module, float]:
    """The module, and its mean error relative to the reach of the outputs."""
    module = net.returns(net.dense(y, 4))
    feeds, other = net.samples(256), net.samples(64, seed=2)
    (wanted,) = Program(module.clone()).run(other)
    Pipeline.parse(road).execute(module, Context(samples=feeds, lookup_bits=24))
    (found,) = Program(module).run(other)
    return module, float(np.abs(found - wanted).mean() / np.ptp(wanted))


def maximum(net: Net) -> Value:
    return net.add("Max", levels(net), net.add("Sigmoid", sums(net)))


def minimum(net: Net) -> Value:
    return net.add("Min", levels(net), levels(net))


def largest_of_three(net: Net) -> Value:
    return net.add("Max", levels(net), np.float32(0.2), levels(net), levels(net))


def chosen_maximum(net: Net) -> Value:
    x, y = levels(net), levels(net)
    return net.add("Where", net.add("LessOrEqual", y, x), x, y)


def chosen_minimum(net: Net) -> Value:
    x, y = levels(net), levels(net)
    return net.add("Where", net.add("Greater", x, y), y, x)


def quotient(net: Net) -> Value:
    return net.add("Div", levels(net), net.add("Exp", levels(net)))


def gate(net: Net) -> Value:
    return net.add("Mul", levels(net), net.add("Sigmoid", sums(net)))


def gate_for_all(net: Net) -> Value:
    """As in squeeze-and-excitation: one number scales many."""
    return net.add("Mul", levels(net), net.add("Sigmoid", net.dense(levels(net), 1)))


def product_of_sums(net: Net) -> Value:
    return net.add("Mul", sums(net), sums(net))


def gated_sums(net: Net) -> Value:
    return net.add("Mul", sums(net), net.add("Sigmoid", sums(net)))


def gated_parts(net: Net) -> Value:
    """GLU: one layer's result, of which one part scales the other."""
    x, y = net.split(net.dense(net.x[0], 2 * ELEMENTS), [ELEMENTS, ELEMENTS], 1)
    return net.add("Mul", x, net.add("Sigmoid", y))


def chosen_of_sums(net: Net) -> Value:
    x, y = sums(net), sums(net)
    return net.add("Where", positive(net, sums(net)), x, y)


MEETINGS: dict[Callable[[Net], Value], int] = {
    # two look-ups for what meets, and:
    maximum: 3 * ELEMENTS,
    minimum: 3 * ELEMENTS,
    largest_of_three: (3 + 2 + 1) * ELEMENTS,
    chosen_maximum: 3 * ELEMENTS,
    chosen_minimum: 3 * ELEMENTS,
    gate: (2 + 2) * ELEMENTS,  # a product takes two
    quotient: (2 + 2) * ELEMENTS,
    gate_for_all: (2 + 2) * ELEMENTS + 1,
    product_of_sums: (2 + 2) * ELEMENTS,
    gated_sums: (2 + 2) * ELEMENTS,
}


@pytest.mark.parametrize("road", [WIDE, NARROW], ids=["rounded", "exact"])
@pytest.mark.parametrize("meeting", MEETINGS)
def test_values_meet(meeting: Callable[[Net], Value], road: str) -> None:
    net = Net(x=(1, 4))
    module, error = compiled(net, meeting(net), road)
    assert error < (0.01 if road == WIDE else 0.04)
    assert pbs_count(module.circuit) <= MEETINGS[meeting]


@pytest.mark.parametrize(
    ("meeting", "look_ups"),
    [(product_of_sums, 2), (gated_sums, 3), (gated_parts, 3), (chosen_of_sums, 3)],
)
def test_products_of_sums_need_no_look_up_before(
    meeting: Callable[[Net], Value], look_ups: int
) -> None:
    net = Net(x=(1, 4))
    module, error = compiled(net, meeting(net))
    assert error < 0.015
    assert pbs_by_bits(module.circuit) == {7: look_ups * ELEMENTS}
    assert all(np.abs(op.w).max() < 2**10 for op in module.circuit.of(MatMul))  # all are fitted


@pytest.mark.parametrize("meeting", [gate, gate_for_all, quotient, product_of_sums, chosen_of_sums])
def test_products_read_no_more_bits_than_other_look_ups(meeting: Callable[[Net], Value]) -> None:
    net = Net(x=(1, 4))
    module, _ = compiled(net, meeting(net), "wide{rounding=4,split=none}")
    assert max(pbs_by_bits(module.circuit)) == 4


@pytest.mark.parametrize("road", [WIDE, NARROW], ids=["rounded", "exact"])
@pytest.mark.parametrize("kind", ["Max", "Min"])
def test_extremes_are_taken_of_few_bits(kind: str, road: str) -> None:
    """Functions behind move before, where they cost nothing: sums are looked up once each."""
    net = Net(x=(1, 4))
    module, error = compiled(net, net.add(kind, sums(net), sums(net)), road)
    assert pbs_count(module.circuit) <= 3 * ELEMENTS
    assert error < (0.01 if road == WIDE else 0.04)
    net = Net(x=(1, 4))
    best = net.add("Relu", net.add(kind, levels(net), net.add("Mul", sums(net), np.float32(2))))
    module, error = compiled(net, net.add("Tanh", best), road)
    assert pbs_count(module.circuit) <= 3 * ELEMENTS
    assert error < (0.01 if road == WIDE else 0.04)


STEPS: dict[str, tuple[Callable[[Net, Value, Value], Value], int]] = {
    **{
        kind: (lambda net, x, y, kind=kind: net.add(kind, x, y), 1)  # type: ignore[misc]
        for kind in ("Greater", "GreaterOrEqual", "Less", "LessOrEqual")
    },
    "And": (lambda net, x, y: net.add("And", positive(net, x), positive(net, y)), 3),
    "Or": (lambda net, x, y: net.add("Or", positive(net, x), positive(net, y)), 3),
    "Xor": (lambda net, x, y: net.add("Xor", positive(net, x), positive(net, y)), 3),
    "Not": (lambda net, x, y: net.add("Not", net.add("Less", x, y)), 1),
}


def positive(net: Net, x: Value) -> Value:
    return net.add("Greater", x, np.float32(0.1))


@pytest.mark.parametrize("kind", STEPS)
def test_comparisons_and_logic(kind: str) -> None:
    """What is true is nearly always found so; the rest lies near the boundary."""
    step, look_ups = STEPS[kind]
    net = Net(x=(1, 4))
    made = step(net, sums(net), sums(net))
    module, error = compiled(net, net.add("Cast", made, to=1), "default{rounding=8,split=none}")
    assert pbs_count(module.circuit) <= look_ups * ELEMENTS
    assert error < 0.015


@pytest.mark.parametrize("other", ["value", "zero"])
def test_choices(other: str) -> None:
    net = Net(x=(1, 4))
    x = levels(net)
    y = net.clear(np.zeros((1, ELEMENTS), np.float32)) if other == "zero" else levels(net)
    _, error = compiled(
        net, net.add("Where", positive(net, sums(net)), x, y), "default{rounding=8,split=none}"
    )
    assert error < 0.015


@pytest.mark.parametrize(("axes", "keepdims"), [([2], 0), ([1], 1), ([0, 2], 0), (None, 0)])
@pytest.mark.parametrize("kind", ["ReduceMax", "ReduceMin"])
def test_reductions(kind: str, axes: list[int] | None, keepdims: int) -> None:
    net = Net(x=(1, 4))
    x = net.add("Reshape", levels(net), np.array([1, 2, ELEMENTS // 2]))
    named = () if axes is None else (np.array(axes),)
    y = net.add(kind, x, *named, keepdims=keepdims)
    module, error = compiled(net, net.add("Reshape", y, np.array([1, -1])))
    left = int(np.prod(y.shape))
    assert pbs_count(module.circuit) <= ELEMENTS + (ELEMENTS - left)
    assert error < 0.01


def test_maxima_of_one_grid_need_no_factors() -> None:
    """What meets in a maximum is quantized on one grid, though it reaches elsewhere."""
    net = Net(x=(1, 4))
    x = net.add("Tanh", sums(net))
    module, _ = compiled(net, net.add("Max", x, net.add("Mul", levels(net), np.float32(3))))
    (op,) = module.circuit.of(Max)
    assert op.index_bits == 7


def test_two_inputs_meet_at_the_client() -> None:
    net = Net(x=(1, 4), z=(1, 4))
    best = net.add("Max", *net.x)
    product = net.add("Where", net.add("Greater", net.x[0], net.x[1]), net.add("Mul", *net.x), best)
    module, error = compiled(net, product)
    assert pbs_count(module.circuit) == 0
    assert error < 0.02


@pytest.mark.parametrize("road", ["wide{split=none}", "wide{rounding=4,split=none}"])
def test_maxima_read_no_more_bits_than_other_look_ups(road: str) -> None:
    net = Net(x=(1, 1, 6, 6))
    x = net.add("Relu", net.conv(net.x[0], 2, (3, 3)))
    x = net.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    module, error = compiled(net, net.add("Flatten", x), road)
    assert pbs_by_bits(module.circuit) == {6 if "=4" not in road else 4: 2 * 16 + 2 * (8 + 4)}
    assert error < (0.015 if "=4" not in road else 0.04)


def test_values_side_by_side_keep_one_step() -> None:
    """One of them has fewer bits, as maxima are taken of it."""
    net = Net(x=(1, 1, 6, 6))
    x = net.add("Relu", net.conv(net.x[0], 2, (3, 3)))
    pooled = net.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    other = net.add("Tanh", net.conv(net.x[0], 2, (3, 3), strides=[3, 3]))
    both = net.add("Concat", pooled, other, axis=1)
    module, error = compiled(net, net.add("Flatten", both), "wide{split=none}")
    assert max(pbs_by_bits(module.circuit)) == 6
    assert error < 0.02
    assert all(np.abs(op.c).max() <= 16 for op in module.circuit.of(MulClear))
