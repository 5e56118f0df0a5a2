"""How far values reach beyond what calibration saw."""

from __future__ import annotations

import numpy as np
import pytest

from lutra.ir.core import Module
from lutra.ir.program import Program
from lutra.passes import Context, Pipeline
from lutra.passes.reach import UNKNOWN, Reach
from lutra.testing.nets import Net


def margins(bits: int, samples: int, seed: int = 0, channels: int = 16) -> tuple[float, float]:
    """Margins of normal values, as shares of the range."""
    values = np.random.default_rng(seed).normal(size=(samples, channels)) * 1e5
    reach = Reach([0])
    for batch in np.array_split(values.astype(np.int64), 5):
        reach.update(batch)
    lo, hi = reach.bounds("auto", bits, ())
    width = np.ptp(values, 0)
    low = float(((values.min(0) - lo) / width).mean())
    return low, float(((hi - values.max(0)) / width).mean())


def test_margins_grow_with_what_a_wrap_costs_and_shrink_with_samples() -> None:
    few, more, many = (margins(bits, 1000)[1] for bits in (3, 6, 10))
    assert 0 <= few < more < many < 1.01 * UNKNOWN
    assert margins(6, 100)[1] > margins(6, 10000)[1]
    assert margins(6, 8)[1] == pytest.approx(UNKNOWN, abs=1e-3)


def test_margins_do_not_depend_on_batches() -> None:
    values = np.random.default_rng(0).integers(-900, 900, (101, 3))
    whole, parts = Reach([0]), Reach([0])
    whole.update(values)
    for batch in np.array_split(values, 17):
        parts.update(batch)
    for one, other in zip(whole.bounds("auto", 6, ()), parts.bounds("auto", 6, ()), strict=True):
        assert (one == other).all()


def network(function: str) -> tuple[Net, Module]:
    net = Net(0, x=(1, 8))
    return net, net.returns(net.dense(net.add(function, net.dense(net.x[0], 16)), 3))


@pytest.mark.parametrize("function", ["Mish", "HardSwish"])
def test_few_unseen_values_wrap(function: str) -> None:
    net, module = network(function)
    Pipeline.parse("default{rounding=6}").execute(module, Context(samples=net.samples(500)))
    feeds = net.samples(2000, seed=9)
    (found,), (wanted,) = Program(module).run(feeds), Program(network(function)[1]).run(feeds)
    far = np.abs(found - wanted).max((1, 2)) > 0.3 * np.ptp(wanted)
    assert far.mean() < 0.005
