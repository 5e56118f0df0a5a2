"""Analyses of a graph, kept until it changes."""

from lutra.ir import analysis
from lutra.ir.core import Graph
from lutra.ir.ops import Lookup, Neg
from lutra.ir.parser import parse_graph
from lutra.ir.rewriter import Rewriter

TEXT = """
%x = input : u5[2x3] in [0, 31]
%0 = round %x, lsbs=2, exact=false
%1 = lookup %0, base=0, table=[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
%2 = max %1, %x
%3 = lookup %x, base=0, table=[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                               1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]
%4 = mul %2, %3
return %4
"""


def test_results_are_kept_until_the_graph_changes() -> None:
    runs = []

    @analysis.analysis
    def count(graph: Graph) -> int:
        """Operations of the graph."""
        runs.append(graph)
        return len(list(graph.ops))

    graph, other = parse_graph(TEXT), parse_graph(TEXT)
    assert [count(graph), count(graph), count(other)] == [7, 7, 7]
    assert len(runs) == 2
    Rewriter(graph).insert(Neg(graph.inputs[0].result))
    assert [count(graph), count(other)] == [8, 7]
    assert len(runs) == 3
    assert count.__doc__ == "Operations of the graph."


def test_look_ups() -> None:
    graph = parse_graph(TEXT)
    sites = analysis.look_ups(graph)
    facts = [(s.op.opname, s.count, s.bits, s.rounded_from, s.exact) for s in sites]
    assert facts == [
        ("lookup", 6, 4, 5, False),
        ("max", 6, 5, 5, True),
        ("lookup", 6, 5, 5, True),
        ("mul", 12, 6, 6, True),
    ]
    assert analysis.pbs_count(graph) == 30
    assert analysis.pbs_by_bits(graph) == {4: 6, 5: 12, 6: 12}


def test_a_square_is_one_look_up() -> None:
    graph = parse_graph("%x = input : i4[3] in [-8, 7]\n%0 = mul %x, %x\nreturn %0\n")
    assert analysis.pbs_by_bits(graph) == {4: 3}


def test_ranges_and_widths() -> None:
    graph = parse_graph(TEXT)
    values = [value for op in graph.ops for value in op.results]
    assert [analysis.ranges(graph)[v] for v in values[:3]] == [(0, 31), (0, 8), (0, 8)]
    assert [analysis.bit_widths(graph)[v] for v in values] == [5, 4, 4, 5, 1, 5]


def test_the_graph_as_networkx_sees_it() -> None:
    graph = parse_graph(TEXT)
    x, rounding, first, largest, second, product, end = graph.ops
    edges = analysis.def_use(graph)
    assert list(edges) == [x, rounding, first, largest, second, product, end]
    assert set(edges.successors(x)) == {rounding, largest, second}
    dominators = analysis.dominators(graph)
    assert dominators[x] is product
    assert dominators[first] is largest


def test_lives_of_values() -> None:
    graph = parse_graph(TEXT)
    x = graph.inputs[0].result
    dying = analysis.last_uses(graph)
    (last,) = [op for op, values in dying.items() if x in values]
    assert isinstance(last, Lookup)
    assert last is list(graph.of(Lookup))[1]
    assert analysis.peak_live_elements(graph) == 18  # x and two more, where `max` and `mul` stand
