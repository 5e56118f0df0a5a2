"""Where look-ups stand: no other choice costs less."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import chain, combinations
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lutra.backends import registry
from lutra.ir.core import Graph
from lutra.ir.interpreter import evaluate
from lutra.ir.ops import Lookup, Max
from lutra.ir.parser import parse_graph
from lutra.ir.program import Program
from lutra.ir.rewriter import Rewriter
from lutra.passes import Context, Pipeline
from lutra.passes.place_lookups import PlaceLookUps
from lutra.passes.placement import Behind, behind, cheapest
from lutra.passes.presets import Narrow
from lutra.pricing import prices_for
from lutra.testing.nets import Net

BRANCHES = """
    %x = input : u3[1x4] in [0, 7]
    %0 = lookup %x, base=0, table=[0, 0, 0, 1, 1, 2, 2, 3]
    %1 = slice %0, starts=[0, 0], stops=[1, 3], steps=[1, 1]
    %2 = slice %0, starts=[0, 1], stops=[1, 4], steps=[1, 1]
    %3 = max %1, %2
    %4 = slice %3, starts=[0, 0], stops=[1, 2], steps=[1, 1]
    %5 = slice %3, starts=[0, 1], stops=[1, 3], steps=[1, 1]
    %6 = max %4, %5
    %7 = lookup %3, base=0, table=[3, 1, 0, 2]
    %8 = matmul %6, w=[[3], [1]]
    return %7, %8
"""


class Drawn:
    """A price for each number of bits."""

    def __init__(self, prices: list[int]) -> None:
        self.prices = prices

    def circuit(self, circuit: Graph) -> float:
        return -1.0

    def look_up(self, bits: int, growth: float = 1.0) -> float:
        return self.prices[bits]


def price(region: Behind, raw: Collection[Any], prices: Drawn) -> float:
    """What a choice costs, by the definition: every value, maximum and look-up of the circuit."""
    once = prices.look_up(region.look_up.index_bits)
    total = 0.0
    for value in region.rows:
        before = value in raw or value is region.look_up.result
        done = value in region.read
        for user in value.users:
            behind = user in region.look_ups or user.result in region.rows
            done |= behind and user not in raw and user.results[0] not in raw
        total += value.size * once * (before and done)
        if isinstance(value.owner, Max):
            total += value.size * prices.look_up(3 if before else value.owner.index_bits)
    for other in region.look_ups:
        bits = region.look_up.index_bits if other in raw else other.index_bits
        total += other.result.size * prices.look_up(bits)
    return total


def choices(region: Behind) -> Iterator[set[Any]]:
    """All that can be computed before a look-up, with what it is computed from."""
    nodes = [*list(region.rows)[1:], *region.look_ups]
    for some in chain.from_iterable(combinations(nodes, n) for n in range(len(nodes) + 1)):
        before = {*some, region.look_up.result}
        operands = [(node if isinstance(node, Lookup) else node.owner).operands for node in some]
        if all(before.issuperset(values) for values in operands):
            yield before


@given(st.lists(st.integers(1, 20), min_size=4, max_size=4))
def test_a_minimum_cut_is_the_cheapest_choice(numbers: list[int]) -> None:
    graph, prices = parse_graph(BRANCHES), Drawn(numbers)
    region = behind(next(graph.of(Lookup)), graph)
    found = cheapest(region, Context(prices=prices))
    least = min(price(region, raw, prices) for raw in choices(region))
    assert price(region, found, prices) == least


@given(st.lists(st.integers(1, 20), min_size=4, max_size=4))
def test_results_stay(numbers: list[int]) -> None:
    graph = parse_graph(BRANCHES)
    x = np.stack(np.meshgrid(*[np.arange(8)] * 4), -1).reshape(-1, 1, 4)
    wanted = evaluate(graph, [x])
    PlaceLookUps().run(graph, Rewriter(graph), Context(prices=Drawn(numbers)))
    for first, second in zip(wanted, evaluate(graph, [x]), strict=True):
        np.testing.assert_array_equal(second, first)


def test_maxima_of_few_bits_become_cheaper() -> None:
    net = Net(x=(1, 1, 8, 8))
    x = net.add("Relu", net.conv(net.x[0], 2, (3, 3)))
    x = net.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    module = net.returns(net.dense(net.add("Flatten", x), 4))
    feeds = net.samples(64)
    concrete = Context(samples=feeds, prices=prices_for(registry.find("concrete"), {}))
    road = Narrow(weights=2, activations=2, inputs=2).expand()
    passes = [item for item in road if not isinstance(item, PlaceLookUps)]
    Pipeline(tuple(passes)).execute(module, Context(feeds))
    wanted, before = Program(module).run(feeds), concrete.prices.circuit(module.circuit)
    PlaceLookUps().run_module(module, concrete)
    assert concrete.prices.circuit(module.circuit) < 0.9 * before
    np.testing.assert_array_equal(Program(module).run(feeds), wanted)


def test_what_nothing_reads_stays() -> None:
    """The look-up's result is moved, and dead."""
    text = "%x = input : u2[] in [0, 3]\n%0 = lookup %x, base=0, table=[3, 1, 0, 2]\n"
    graph = parse_graph(f"{text}%1 = reshape %0, shape=[1]\nreturn %x")
    rewriter = Rewriter(graph)
    PlaceLookUps().run(graph, rewriter, Context())
    assert not rewriter.changes
