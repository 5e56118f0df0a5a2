"""Ranges and rewriters, tried on random graphs; see also tests/test_random_programs.py."""

import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lutra.ir import ops
from lutra.ir.core import Graph, Module
from lutra.ir.rewriter import Rewriter
from lutra.ir.samples import every_input, run_all
from lutra.ir.text import text_of_module
from lutra.ir.types import Int
from lutra.ir.verifier import verify_graph
from lutra.testing.checks import check_values
from lutra.testing.graphs import (
    INTEGER_OPS,
    SHAPES,
    arrays,
    integer_graphs,
    parts_of,
    quantized_graphs,
)

GRAPHS = st.one_of(integer_graphs(), quantized_graphs())
TINY = SHAPES.filter(lambda shape: math.prod(shape) <= 4)


def full_text(graph: Graph) -> str:
    return text_of_module(Module([graph]), limit=None)


@given(GRAPHS)
def test_clone_is_equal_and_apart(graph: Graph) -> None:
    text, twin = full_text(graph), graph.clone()
    verify_graph(twin)
    assert full_text(twin) == text
    rewriter = Rewriter(twin)
    rewriter.returns([node.result for node in twin.inputs])
    for op in reversed([op for op in twin.ops if op.pure]):
        rewriter.erase(op)
    verify_graph(twin)
    assert full_text(graph) == text


@given(integer_graphs(shapes=TINY, reach=2))
def test_ranges_hold_for_every_input(graph: Graph) -> None:
    inputs = every_input(graph)
    assume(inputs is not None)
    assert inputs is not None
    check_values(graph, inputs)


@pytest.mark.parametrize("kind", [kind for kind in INTEGER_OPS if kind not in ("pad", "assume")])
def test_range_of_one_operation_is_attained(kind: str) -> None:
    """Each element reaches both ends of its range. (`pad` keeps one hull for all its elements.)"""

    @settings(max_examples=40)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        graph = Graph()
        rewriter = Rewriter(graph)
        x = rewriter.input("x", Int.of(data.draw(TINY), -3, 3))
        bounds = data.draw(arrays(-2, 2, (2, *data.draw(parts_of(x.shape)))))
        lo, hi = bounds.min(0), bounds.max(0)
        own = rewriter.insert(ops.Assume(x, lo, hi)).result  # each element gets its own range
        op = INTEGER_OPS[kind](data.draw, own, [rewriter.input("y", Int.of(x.shape, -1, 1))])
        assume(op is not None)
        assert op is not None
        rewriter.insert(op)
        rewriter.returns(op.results)
        inputs = every_input(graph)
        assume(inputs is not None)
        assert inputs is not None
        results, kept = run_all(graph, inputs)
        y = results[op.result][kept]
        assert (y.min(0) == op.result.int_type.lo).all()
        assert (y.max(0) == op.result.int_type.hi).all()

    check()


@given(integer_graphs(), st.data())
def test_narrowing_retypes_all_that_follows(graph: Graph, data: st.DataObject) -> None:
    values = [value for op in graph.ops for value in op.results]
    value = data.draw(st.sampled_from(values))
    users = value.users
    node = INTEGER_OPS["assume"](data.draw, value, [])
    assert node is not None
    rewriter = Rewriter(graph)
    rewriter.insert_after(value, node)
    rewriter.replace_uses(value, node.result, only=users)
    verify_graph(graph)
    rewriter.replace(node, value)
    verify_graph(graph)
