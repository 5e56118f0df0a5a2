"""Elementwise regions as tables: on every integer that the input can be."""

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings

from lutra.backends.numpy.cells import regions, tabulated
from lutra.backends.numpy.plan import Plan
from lutra.ir.core import Graph, Op, Value
from lutra.ir.interpreter import Interpreter
from lutra.ir.ops import Add, AddClear, Assume, Halve, Lookup, Max, MulClear, Neg, Round, Sub
from lutra.ir.parser import parse_graph
from lutra.ir.rewriter import Rewriter
from lutra.ir.types import Int, Ints

SPLIT = """
    %x = input : i9[2] in [-256, 255]
    %a = add_clear %x, c=[256, 256]
    %h = round %a, lsbs=6, exact=false
    %v = lookup %h, base=0, table=[0, 64, 128, 192, 256, 320, 384, 448], beyond="negacyclic"
    %r = sub %a, %v
    %s = round %r, lsbs=3, exact=false
    %g = lookup %s, base=-32, table=<64>, beyond="negacyclic"
    %t = lookup %h, base=0, table=[0, 1, 2, 3, 4, 5, 6, 7], beyond="negacyclic"
    %y = add %t, %g
""".replace("<64>", str([i * i % 19 for i in range(64)]))


def same_everywhere(graph: Graph) -> None:
    """All values of the input at once, as samples."""
    (node,) = graph.inputs
    type = node.result.int_type
    every = np.arange(type.min, type.max + 1)
    x = np.broadcast_to(every.reshape(-1, *(1,) * len(type.shape)), (len(every), *type.shape))
    reference, plan = Interpreter(graph), Plan(graph)
    for wanted, found in zip(reference.run([x]), plan.run([x]), strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert plan.violations == reference.violations


def test_a_split_look_up_is_one_table_of_its_cells() -> None:
    graph = parse_graph(f"{SPLIT}\nreturn %y")
    (region,) = regions(list(graph.ops), graph.outputs)
    found = tabulated(region, 256)
    assert found is not None
    assert found.k == 2  # the boundaries lie 32 and 4 behind multiples of 64 and 8
    assert len(region.ops) == 8
    same_everywhere(graph)


def test_results_that_others_read_are_tables_of_the_same_cells() -> None:
    graph = parse_graph(f"{SPLIT}\nreturn %y, %t, %g")
    (region,) = regions(list(graph.ops), graph.outputs)
    assert len(region.outputs) == 3
    same_everywhere(graph)


def test_a_wide_value_that_others_read_begins_a_region() -> None:
    graph = parse_graph(f"{SPLIT}\nreturn %y, %a")
    (region,) = regions(list(graph.ops), graph.outputs)
    assert region.root.owner.opname == "add_clear"
    same_everywhere(graph)


def test_claims_within_a_region_are_counted() -> None:
    rows = SPLIT.replace("%s = round %r", "%q = assume %r, lo=-20, hi=21\n%s = round %q")
    graph = parse_graph(f"{rows}\nreturn %y")
    same_everywhere(graph)
    narrowed = rows.replace("%a = add_clear %x", "%w = assume %x, lo=-7, hi=99\n%a = add_clear %w")
    same_everywhere(parse_graph(f"{narrowed}\nreturn %y"))


def test_tables_that_would_be_too_large_are_left_to_the_reference() -> None:
    graph = parse_graph("""
        %x = input : i31[2] in [-1073741824, 1073741823]
        %0 = add_clear %x, c=[1, 2]
        %y = lookup %0, base=0, table=[5, 6, 7, 8], beyond="negacyclic"
        return %y
    """)
    (region,) = regions(list(graph.ops), graph.outputs)
    assert tabulated(region, 1 << 30) is None
    x = np.array([[-1073741824, 5], [1073741823, -9]])
    np.testing.assert_array_equal(Plan(graph).run([x])[0], Interpreter(graph).run([x])[0])


small = st.integers(-9, 9)


def rows(draw: st.DrawFn, strategy: st.SearchStrategy[int]) -> Ints:
    """A constant for all elements, or one for each of the two."""
    count = draw(st.sampled_from([1, 2]))
    return np.array([draw(strategy) for _ in range(count)])


def operation(draw: st.DrawFn, values: list[Value], rounded: list[Value]) -> Op:
    """Any elementwise operation of some of the last values."""
    x, y = (draw(st.sampled_from(values[-3:])) for _ in range(2))
    kind = draw(st.sampled_from([Add, Sub, AddClear, MulClear, Assume, Halve, Neg, Max, Lookup]))
    if kind is AddClear:
        return AddClear(x, rows(draw, small))
    if kind is MulClear:
        return MulClear(x, rows(draw, st.integers(-3, 3)))
    if kind is Assume:
        lo = rows(draw, st.integers(-30, 5))
        return Assume(x, lo, lo + draw(st.integers(0, 60)))
    if kind is Lookup:
        table = [draw(small) for _ in range(8)]
        source = draw(st.sampled_from([x, *rounded]))
        return Lookup(source, draw(st.integers(-4, 4)), np.array(table), "negacyclic")
    return kind(x) if kind in (Halve, Neg) else kind(x, y)


@st.composite
def elementwise(draw: st.DrawFn) -> Graph:
    """A circuit of elementwise operations of one input [2]."""
    graph = Graph("circuit")
    rewriter = Rewriter(graph)
    low, span = draw(st.integers(-70, 10)), draw(st.integers(1, 90))
    values: list[Value] = [rewriter.input("x", Int.of((2,), low, low + span))]
    rounded: list[Value] = []
    for _ in range(draw(st.integers(1, 9))):
        if draw(st.integers(0, 3)) == 0:
            source = draw(st.sampled_from(values[-3:]))
            rounded.append(rewriter.insert(Round(source, draw(st.integers(1, 4)))).result)
        else:
            values.append(rewriter.insert(operation(draw, values, rounded)).result)
    rewriter.returns(draw(st.lists(st.sampled_from(values), min_size=1, max_size=3, unique=True)))
    return graph


@settings(deadline=None, max_examples=150)
@given(elementwise())
def test_any_elementwise_circuit_means_the_same(graph: Graph) -> None:
    same_everywhere(graph)
