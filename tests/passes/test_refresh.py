"""Values that are looked up once more: the same results, at a lower price."""

from __future__ import annotations

import numpy as np
import pytest

from encrypted import Encrypted
from lutra.backends import registry
from lutra.ir.analysis import pbs_count
from lutra.ir.core import Graph
from lutra.ir.interpreter import evaluate
from lutra.ir.parser import parse_graph
from lutra.ir.program import Program
from lutra.ir.rewriter import Rewriter
from lutra.ir.verifier import verify_graph
from lutra.passes import Context, Pipeline
from lutra.passes.base import Prices
from lutra.passes.refresh import RefreshNoise
from lutra.pricing import prices_for
from lutra.testing.nets import Net

POOLED = """
    %x = input : u2[1x4] in [0, 3]
    %0 = lookup %x, base=0, table=[0, 1, 1, 3]
    %1 = slice %0, starts=[0, 0], stops=[1, 2], steps=[1, 1]
    %2 = slice %0, starts=[0, 2], stops=[1, 4], steps=[1, 1]
    %3 = max %1, %2
    %4 = matmul %3, w=[[3, -2], [1, -4]]
    %5 = add %3, %3
    return %4, %5
"""


class OfFew:
    """Prices at which every look-up makes a circuit cheaper."""

    def circuit(self, circuit: Graph) -> float:
        return -pbs_count(circuit)

    def look_up(self, bits: int, growth: float = 1.0) -> float:
        return 1.0


def refreshed(text: str, prices: Prices) -> Graph:
    graph = parse_graph(text)
    RefreshNoise().run(graph, Rewriter(graph), Context(prices=prices))
    verify_graph(graph)
    return graph


def test_results_stay() -> None:
    graph = refreshed(POOLED, OfFew())
    assert pbs_count(graph) == pbs_count(parse_graph(POOLED)) + 2
    x = np.array(np.meshgrid(*[range(4)] * 4)).reshape(4, -1).T[:, None]
    for found, wanted in zip(evaluate(graph, [x]), evaluate(parse_graph(POOLED), [x]), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_what_is_looked_up_anyway_stays() -> None:
    text = """
        %x = input : u2[1x4] in [0, 3]
        %0 = slice %x, starts=[0, 0], stops=[1, 2], steps=[1, 1]
        %1 = slice %x, starts=[0, 2], stops=[1, 4], steps=[1, 1]
        %2 = max %0, %1
        %3 = max %2, %1
        %4 = reshape %3, shape=[2]
        %5 = lookup %4, base=0, table=[3, 2, 1, 0]
        return %5
    """
    assert pbs_count(refreshed(text, OfFew())) == pbs_count(parse_graph(text))
    twice = str(refreshed(POOLED, OfFew()))
    assert str(refreshed(twice, OfFew())) == twice


def test_pooling_becomes_cheaper() -> None:
    net = Net(x=(1, 1, 8, 8))
    x = net.add("Relu", net.conv(net.x[0], 2, (3, 3)))
    x = net.add("MaxPool", x, kernel_shape=[3, 3], strides=[1, 1])
    module = net.returns(net.dense(net.add("Flatten", x), 4))
    feeds = net.samples(64)
    prices = prices_for(registry.find("concrete"), {})
    Pipeline.parse("wide{rounding=4,split=none}").execute(module, Context(samples=feeds))
    wanted, before = Program(module).run(feeds), prices.circuit(module.circuit)
    RefreshNoise().run_module(module, Context(prices=prices))
    assert prices.circuit(module.circuit) < 0.9 * before
    np.testing.assert_array_equal(Program(module).run(feeds), wanted)


@pytest.mark.encrypted
def test_refreshed_values_under_encryption(encrypted: Encrypted) -> None:
    encrypted.check(str(refreshed(POOLED, OfFew())), samples=4)
