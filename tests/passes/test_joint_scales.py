"""Values that are added up have steps in the proportion of small integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lutra.ir.analysis import pbs_by_bits
from lutra.ir.core import Module, Value
from lutra.ir.ops import MulClear, Quantize
from lutra.ir.program import Program
from lutra.passes import Context, Pipeline
from lutra.passes.joint_scales import proportion
from lutra.testing.nets import Net

EXACT = "default{weights=4,activations=4,inputs=6,rounding=none}"


@given(st.lists(st.floats(1e-4, 1e4), min_size=1, max_size=4))
def test_no_step_becomes_smaller_nor_much_wider(steps: list[float]) -> None:
    factors, unit = proportion(steps)
    wider = [k * unit / step for k, step in zip(factors, steps, strict=True)]
    assert min(wider) >= 1 - 1e-5
    assert max(wider) < 1.34
    assert min(factors) <= 8


@pytest.mark.parametrize(
    ("steps", "factors"),
    [([1, 1.05], [1, 1]), ([1, 1.4], [2, 3]), ([1, 10], [1, 10]), ([1, 0.3, 2.2], [7, 2, 15])],
)
def test_small_factors_are_preferred(steps: list[float], factors: list[int]) -> None:
    assert proportion(steps)[0] == factors


def compiled(net: Net, y: Value) -> tuple[Module, float]:
    module = net.returns(net.dense(net.add("Relu", net.dense(y, 5)), 3))
    feeds = net.samples(256)
    (wanted,) = Program(module.clone()).run(feeds)
    Pipeline.parse(EXACT).execute(module, Context(samples=feeds))
    (found,) = Program(module).run(feeds)
    return module, float(np.abs(found - wanted).mean() / np.ptp(wanted))


def function(net: Net, x: Value, kind: str = "Relu") -> Value:
    return net.add(kind, net.dense(x, 6))


def test_sums_of_activations_stay_narrow() -> None:
    """One look-up for each activation, and accumulators that need no rounding."""
    net = Net(x=(1, 4))
    x = function(net, net.x[0])
    y = function(net, x, "Tanh")
    z = net.add("Sub", net.add("Add", x, y), function(net, y, "Sigmoid"))
    module, error = compiled(net, z)
    counts = pbs_by_bits(module.circuit)
    assert sum(counts.values()) <= 3 * 6 + 5
    assert max(counts) <= 11  # 18 with steps of any proportion
    assert error < 0.03
    assert all(np.abs(op.c).max() <= 16 for op in module.circuit.of(MulClear))


def test_joined_values_and_sums_of_them_share_one_step() -> None:
    net = Net(x=(1, 4))
    x = function(net, net.x[0])
    both = net.add("Concat", x, function(net, x, "Tanh"), axis=1)
    more = net.add("Concat", function(net, x, "Sigmoid"), function(net, x), axis=1)
    module, error = compiled(net, net.add("Add", both, more))
    counts = pbs_by_bits(module.circuit)
    assert sum(counts.values()) <= 4 * 6 + 5
    assert max(counts) <= 11
    assert error < 0.03


def test_dense_blocks_need_one_look_up_an_activation() -> None:
    """Each layer reads all activations before it, side by side."""
    net = Net(x=(1, 4))
    x = function(net, net.x[0])
    for _ in range(3):
        x = net.add("Concat", x, function(net, x), axis=1)
    module, error = compiled(net, x)
    assert pbs_by_bits(module.circuit).keys() <= set(range(12))
    assert sum(pbs_by_bits(module.circuit).values()) <= 4 * 6 + 5
    assert error < 0.06
    assert not list(module.circuit.of(MulClear))


def test_truth_values_keep_their_step() -> None:
    net = Net(x=(1, 4))
    truth = net.add("Cast", net.add("Greater", net.dense(net.x[0], 6), np.float32(0)), to=1)
    graph = net.returns(net.dense(net.add("Add", truth, function(net, net.x[0])), 3))
    feeds = net.samples(64)
    Pipeline.parse("clean,calibrate,quantize{activations=8}").execute(graph, Context(samples=feeds))
    steps = [float(op.scale) for op in graph.main.of(Quantize) if op.hi == 1]
    assert steps == [1.0]
