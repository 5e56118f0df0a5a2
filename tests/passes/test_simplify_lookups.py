"""Look-ups that others, or none, can stand for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given

from lutra.ir.analysis import pbs_count
from lutra.ir.core import Graph, Input, Module, Value
from lutra.ir.interpreter import evaluate
from lutra.ir.ops import Assume, Lookup
from lutra.ir.parser import parse_graph
from lutra.ir.program import Program
from lutra.ir.samples import run_all, samples
from lutra.ir.types import Int
from lutra.passes import Context, Pipeline
from lutra.passes.simplify_lookups import straight
from lutra.testing.graphs import integer_graphs
from lutra.testing.nets import Net

KINDS = ("lookup", "lookup", "max", "mul", "assume", "pad", "reshape", "transpose", "slice")


@given(integer_graphs(kinds=KINDS, most=8))
def test_random_circuits_keep_their_results(graph: Graph) -> None:
    """On every sample that stays within what is assumed; and none bootstraps more often."""
    inputs = samples(graph)
    values, kept = run_all(graph, inputs)
    assume(kept.any())
    old = [values[value] for value in graph.outputs]
    count = pbs_count(graph)
    Pipeline.parse("simplify-lookups").execute(Module([graph]))
    assert pbs_count(graph) <= count
    values, _ = run_all(graph, inputs)
    for a, value in zip(old, graph.outputs, strict=True):
        np.testing.assert_array_equal(a[kept], values[value][kept])


def test_where_tables_are_straight() -> None:
    table = np.array([[0, 0, 0, 1, 2, 3, 3, 3], [7, 5, 3, 1, -1, -3, -5, -7]])
    x = Assume(Input("x", Int.of((2,), -4, 3)).result, [-3, -4], [1, 3])
    op = Lookup(x.result, -4, table)
    assert straight(op, op.table) is None  # 0, 0, 1, 2, 3
    x = Assume(Input("x", Int.of((2,), -4, 3)).result, [-2, -4], [1, 3])
    op = Lookup(x.result, -4, table)
    found = straight(op, op.table)
    assert found is not None
    slope, start = found
    assert slope.tolist() == [1, -2]
    assert start.tolist() == [2, -1]


def test_constants_stay_constants_behind_rounding() -> None:
    graph = parse_graph(
        "%x = input : u4[3] in [0, 15]\n%0 = round %x, lsbs=2, exact=false\n"
        "%1 = lookup %0, base=0, table=[5, 5, 5, 5, 5, 0, 0, 0]\nreturn %1\n"
    )
    Pipeline.parse("simplify-lookups").execute(Module([graph]))
    assert pbs_count(graph) == 0
    assert evaluate(graph, [np.array([[0, 9, 15]])])[0].tolist() == [[5, 5, 5]]


def compiled(net: Net, y: Value, road: str) -> tuple[Module, float]:
    module = net.returns(net.dense(y, 3))
    feeds = net.samples(256)
    (wanted,) = Program(module.clone()).run(feeds)
    Pipeline.parse(road).execute(module, Context(samples=feeds))
    (found,) = Program(module).run(feeds)
    return module, float(np.abs(found - wanted).mean() / np.ptp(wanted))


@pytest.mark.parametrize("road", ["wide{split=none}", "narrow{weights=3}"])
def test_dead_channels_are_not_looked_up(road: str) -> None:
    """Of four channels two are always cut off by ReLU, with room to spare."""
    net = Net(x=(1, 2, 4, 4))
    bias = np.array([-99, 0, 0, -99], np.float32)
    x = net.add("Conv", net.x[0], net.weights(4, 2, 3, 3, terms=18), bias)
    module, error = compiled(net, net.add("Flatten", net.add("Relu", x)), road)
    assert pbs_count(module.circuit) == 2 * 4
    assert error < 0.05


def test_later_tables_hold_what_is_put_together() -> None:
    graph = parse_graph("""
        %x = input : u2[1x1x2] in [0, 2]
        %0 = lookup %x, base=0, table=[[[[0, 1, 1, 1], [1, 1, 1, 1]]]]
        %1 = lookup %0, base=0, table=[3, 0]
        %2 = add %1, %0
        return %2
        """)
    x = np.arange(3).reshape(3, 1, 1, 1) + np.zeros((3, 1, 1, 2), np.int64)
    wanted = evaluate(graph, [x])[0]
    Pipeline.parse("simplify-lookups").execute(Module([graph]))
    assert np.array_equal(evaluate(graph, [x])[0], wanted)
