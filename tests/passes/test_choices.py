"""Places of maxima, products of many numbers, overlapping sums: what they are taken apart into."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import pytest

from lutra.ir.analysis import look_ups
from lutra.ir.core import Graph, Module
from lutra.ir.errors import ModelError
from lutra.ir.interpreter import Interpreter
from lutra.ir.ops import Lookup, Onnx
from lutra.ir.program import Program
from lutra.ir.types import Array, Ints
from lutra.passes import Context, Pipeline
from lutra.testing.nets import Net

SHAPE = (2, 3, 4)


def between_layers(
    op_type: str, shape: Sequence[int], *constants: Array, **attrs: object
) -> Module:
    """An operator between two layers that change nothing."""
    net = Net(x=(1, prod(shape)))
    x = net.add("MatMul", net.x[0], np.eye(prod(shape), dtype=np.float32))
    y = net.add(op_type, net.add("Reshape", x, np.array(shape)), *constants, **attrs)
    y = net.add("Cast", y, to=1) if op_type.startswith("Arg") else y
    flat = net.add("Reshape", y, np.array([1, prod(y.shape)]))
    return net.returns(net.add("MatMul", flat, np.eye(flat.shape[1], dtype=np.float32)))


def check(module: Module, op_type: str) -> None:
    """Taken apart, it computes the same of few whole numbers, of which many are equal."""
    size = module.main.inputs[0].type.shape[1]
    x = np.random.default_rng(0).integers(-2, 3, (64, 1, size)).astype(np.float32)
    (wanted,) = Program(module.clone()).run({"x": x})
    Pipeline.parse("clean,check-support").execute(module)
    assert op_type not in {op.op_type for op in module.main.of(Onnx)}
    np.testing.assert_allclose(Program(module).run({"x": x})[0], wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("op_type", "attrs"),
    [
        ("Hardmax", {"axis": 0}),
        ("Hardmax", {"axis": 1}),
        ("Hardmax", {}),
        ("ArgMax", {}),
        ("ArgMax", {"axis": 1, "select_last_index": 1}),
        ("ArgMax", {"axis": -1, "keepdims": 0}),
        ("ArgMin", {"axis": 1}),
        ("ArgMin", {"axis": -1, "select_last_index": 1, "keepdims": 0}),
    ],
)
def test_first_or_last_of_equal_ones(op_type: str, attrs: dict[str, int]) -> None:
    check(between_layers(op_type, SHAPE, **attrs), op_type)


@pytest.mark.parametrize("axes", [None, [1], [-1, 0]])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_products(axes: list[int] | None, keepdims: int) -> None:
    constants = () if axes is None else (np.array(axes),)
    check(between_layers("ReduceProd", SHAPE, *constants, keepdims=keepdims), "ReduceProd")


@pytest.mark.parametrize(
    ("axis", "count", "attrs"), [(0, 1, {}), (1, 2, {"largest": 0}), (-1, 3, {}), (2, 4, {})]
)
def test_largest_in_order(axis: int, count: int, attrs: dict[str, int]) -> None:
    check(between_layers("TopK", SHAPE, np.array([count]), axis=axis, **attrs), "TopK")


@pytest.mark.parametrize(
    ("columns", "image", "block", "attrs"),
    [
        (9, (4, 4), (2, 2), {}),
        (4, (4, 5), (2, 2), {"strides": [2, 2]}),
        (9, (3, 4), (2, 3), {"pads": [1, 0, 0, 1]}),
        (4, (5, 4), (2, 2), {"strides": [2, 2], "dilations": [2, 1], "pads": [0, 1, 0, 0]}),
    ],
)
def test_overlapping_sums(
    columns: int, image: tuple[int, int], block: tuple[int, int], attrs: dict[str, list[int]]
) -> None:
    sizes = np.array(image), np.array(block)
    check(between_layers("Col2Im", (1, 2 * prod(block), columns), *sizes, **attrs), "Col2Im")


def integers(circuit: Graph) -> Ints:
    """Random values of a circuit's only input (samples, *shape)."""
    (x,) = circuit.inputs
    type = x.result.int_type
    return np.random.default_rng(0).integers(type.min, type.max + 1, (200, *type.shape))


def test_exactly_one_is_hot() -> None:
    """Of few bits, of which the largest are often equal: one is chosen, the first of them."""
    net = Net(x=(1, 6))
    hot = net.add("Hardmax", net.dense(net.x[0], 5))
    module = net.returns(net.add("MatMul", hot, np.eye(5, dtype=np.float32)))
    Pipeline.parse("narrow{weights=4,activations=2}").execute(module, Context(net.samples(64)))
    *_, last = module.circuit.of(Lookup)
    (y,) = Interpreter(module.circuit, [last.result]).run([integers(module.circuit)])
    assert {*y.reshape(-1)} == {0, 1}
    assert (y.sum(-1) == 1).all()
    counts = [site.count for site in look_ups(module.circuit)]
    assert sum(counts) == 5 + 4 + 5 + 5  # to few bits, maxima, comparisons, the first of them


def test_one_product_less_than_factors() -> None:
    net = Net(x=(1, 6))
    x = net.add("Sigmoid", net.dense(net.x[0], 5))
    y = net.add("ReduceProd", x, np.array([1]))
    module = net.returns(net.dense(y, 2))
    Pipeline.parse("wide{split=none}").execute(module, Context(net.samples(64)))
    products = [site for site in look_ups(module.circuit) if site.op.opname == "mul"]
    assert sum(site.count for site in products) == 2 * 4


def test_a_maximum_for_every_exchange() -> None:
    net = Net(x=(1, 6))
    most = net.add("TopK", net.add("Relu", net.dense(net.x[0], 5)), np.array([2]))
    module = net.returns(net.dense(most, 2))
    Pipeline.parse("wide{split=none}").execute(module, Context(net.samples(64)))
    maxima = [site.count for site in look_ups(module.circuit) if site.op.opname == "max"]
    assert sum(maxima) == 4 + 3


def test_places_of_the_largest_stay_secret() -> None:
    net = Net(x=(1, 6))
    places = net.node("TopK", net.dense(net.x[0], 5), np.array([2])).results[1]
    module = net.returns(net.dense(net.add("Cast", places, to=1), 2))
    with pytest.raises(ModelError, match="the places of the values"):
        Pipeline.parse("clean,check-support").execute(module)
