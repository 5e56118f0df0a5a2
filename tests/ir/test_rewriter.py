"""The rewriter keeps use-lists, types and origins right."""

import time

import pytest

from lutra.ir.core import Graph, Op
from lutra.ir.errors import VerifyError
from lutra.ir.ops import Add, Assume, Concat, Lookup, MatMul, Neg, Reshape
from lutra.ir.parser import parse_graph
from lutra.ir.rewriter import Rewriter, merge
from lutra.ir.types import Int
from lutra.ir.verifier import verify_graph


def graph_of(*lines: str) -> tuple[Graph, Rewriter, list[Op]]:
    graph = parse_graph("\n".join(["%x = input : u4[2] in [0, 15]", *lines]))
    return graph, Rewriter(graph), list(graph.ops)


def lines(graph: Graph) -> list[str]:
    return str(graph).splitlines()[1:]


# --- building -----------------------------------------------------------------------------------
def test_inputs_come_first() -> None:
    graph, rewriter, _ = graph_of("%0 = neg %x", "return %0")
    y = rewriter.input("y", Int.of((2,), 0, 1))
    assert [op.opname for op in graph.ops] == ["input", "input", "neg", "return"]
    assert graph.inputs[1].result is y
    verify_graph(graph)


def test_insert_brings_what_is_read() -> None:
    graph, rewriter, (x, _) = graph_of("return %x")
    inner = Neg(x.result)
    rewriter.insert(Add(inner.result, inner.result), loc=("here",))
    assert lines(graph) == [
        '%0 = neg %x : i5[2] in [-15, 0]  loc "here"',
        '%1 = add %0, %0 : i6[2] in [-30, 0]  loc "here"',
        "return %x",
    ]
    assert rewriter.changes == 2


def test_insert_keeps_own_origins() -> None:
    _, rewriter, (x, end) = graph_of("return %x")
    node = Neg(x.result)
    node.loc = ("own",)
    assert rewriter.insert(node, before=end, loc=("other",)).loc == ("own",)


def test_insert_after() -> None:
    graph, rewriter, (x, neg, _) = graph_of('%0 = neg %x loc "n"', "return %0")
    rewriter.input("y", Int.of((), 0, 1))
    rewriter.insert_after(x.result, Neg(x.result))
    rewriter.insert_after(neg.result, Neg(neg.result))
    assert [op.opname for op in graph.ops] == ["input", "input", "neg", "neg", "neg", "return"]
    assert list(graph.ops)[4].loc == ("n",)
    verify_graph(graph)


def test_returns_replaces_the_return() -> None:
    graph, rewriter, (x, neg, old) = graph_of("%0 = neg %x", "return %0")
    rewriter.returns([Neg(neg.result).result, x.result], ["a", "b"])
    assert lines(graph)[-1] == 'return %1, %x, names=["a", "b"]'
    assert old not in neg.result.users
    verify_graph(graph)


# --- replacing ----------------------------------------------------------------------------------
def test_replace_by_a_new_operation() -> None:
    graph, rewriter, (x, neg, _) = graph_of('%0 = neg %x loc "n"', "return %0, %0")
    rewriter.replace(neg, MatMul(Reshape(x.result, (1, 2)).result, [[-1], [0]]))  # type: ignore[arg-type]
    assert lines(graph) == [
        '%0 = reshape %x, shape=[1, 2] : u4[1x2] in [0, 15]  loc "n"',
        '%1 = matmul %0, w=[[-1], [0]] : i5[1x1] in [-15, 0]  loc "n"',
        "return %1, %1",
    ]
    verify_graph(graph)


def test_replace_merges_origins() -> None:
    graph, rewriter, (_, first, second, _) = graph_of(
        '%0 = neg %x loc "a", "b"', '%1 = neg %x loc "b", "c"', "return %0, %1"
    )
    rewriter.replace(second, first)
    assert set(first.loc) == {"a", "b", "c"}
    assert len(first.loc) == 3
    assert lines(graph)[-1] == "return %0, %0"
    verify_graph(graph)


def test_replace_by_a_value() -> None:
    graph, rewriter, (x, _, second, _) = graph_of("%0 = neg %x", "%1 = neg %0", "return %1")
    rewriter.replace(second, x.result)
    assert lines(graph) == ["%0 = neg %x : i5[2] in [-15, 0]", "return %x"]
    verify_graph(graph)


def test_replace_one_of_several_operands() -> None:
    graph, rewriter, (x, neg, concat, _) = graph_of(
        "%0 = neg %x", "%1 = concat %x, %0, %x, axis=0", "return %1, %x"
    )
    assert isinstance(concat, Concat)
    rewriter.replace_uses(x.result, neg.result, only=[concat])
    assert concat.xs == (neg.result,) * 3
    assert lines(graph)[-1] == "return %1, %x"
    assert x.result.users == [neg, graph.terminator]
    verify_graph(graph)


def test_only_users_are_touched() -> None:
    graph, rewriter, (x, first, second, end) = graph_of("%0 = neg %x", "%1 = neg %0", "return %1")
    rewriter.replace_uses(x.result, first.result, only=[second, end])
    assert first.result.users == [second]
    verify_graph(graph)


def test_a_value_replaces_itself() -> None:
    graph, rewriter, (x, *_) = graph_of("%0 = neg %x", "return %0")
    rewriter.replace_uses(x.result, x.result)
    assert rewriter.changes == 0
    verify_graph(graph)


# --- types --------------------------------------------------------------------------------------
def test_types_follow_downstream() -> None:
    graph, rewriter, (x, *_) = graph_of(
        "%0 = neg %x", "%1 = add %0, %x", "%2 = lookup %0, base=-15, table="
        f"{list(range(16))}", "return %1, %2",
    )  # fmt: skip
    users = x.result.users
    narrow = rewriter.insert_after(x.result, Assume(x.result, 2, 3))  # type: ignore[arg-type]
    rewriter.replace_uses(x.result, narrow.result, only=users)
    assert lines(graph)[1:4] == [
        "%1 = neg %0 : i3[2] in [-3, -2]",
        "%2 = add %1, %0 : i2[2] in [-1, 1]",
        "%3 = lookup %1, base=-15, table=[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15] "
        ": u4[2] in [12, 13]",
    ]
    verify_graph(graph)


def test_shapes_that_do_not_fit_are_an_error() -> None:
    _, rewriter, (x, _, add, _) = graph_of("%0 = neg %x", '%1 = add %0, %x loc "n"', "return %1")
    wrong = Reshape(x.result, (1, 1, 2))
    rewriter.insert(wrong, before=add)
    rewriter.replace_uses(x.result, wrong.result, only=[add])  # broadcasts
    longer = rewriter.insert(Concat((x.result, x.result, x.result), 0), before=add)
    with pytest.raises(VerifyError, match="add does not take its operands' new types") as error:
        rewriter.replace_uses(wrong.result, longer.result)
    assert error.value.nodes == ("n",)


def test_a_range_may_leave_a_table_for_a_while() -> None:
    graph, rewriter, (x, narrow, lookup, _) = graph_of(
        "%0 = assume %x, lo=0, hi=1", "%1 = lookup %0, base=0, table=[1, -5]", "return %1"
    )
    rewriter.replace(narrow, x.result)
    assert lookup.result.type == Int.of((2,), -5, 5)  # both halves of the table
    with pytest.raises(VerifyError, match=r"\[0, 15\] leaves the table's \[0, 1\]"):
        verify_graph(graph)
    rewriter.replace(lookup, Lookup(x.result, 0, list(range(16))))  # type: ignore[arg-type]
    verify_graph(graph)


def test_diamonds_are_retyped_once() -> None:
    rows = []
    for i in range(60):
        rows += [f"%a{i} = neg %s{i}", f"%b{i} = neg %s{i}", f"%t{i} = sub %a{i}, %b{i}"]
        rows += [f"%r{i} = assume %t{i}, lo=-9, hi=9", f"%s{i + 1} = concat %r{i}, axis=0"]
    graph, rewriter, (x, *_) = graph_of("%s0 = neg %x", *rows, "return %s60")
    users = x.result.users
    narrow = rewriter.insert_after(x.result, Assume(x.result, 0, 0))  # type: ignore[arg-type]
    start = time.perf_counter()
    rewriter.replace_uses(x.result, narrow.result, only=users)
    assert time.perf_counter() - start < 1
    verify_graph(graph)
    assert graph.outputs[0].type == Int.of((2,), 0, 0)


# --- erasing ------------------------------------------------------------------------------------
def test_erase_frees_the_operands() -> None:
    graph, rewriter, (x, neg, end) = graph_of("%0 = neg %x", "return %x")
    rewriter.erase(neg)
    assert x.result.users == [end]
    assert neg.graph is None
    verify_graph(graph)


def test_erasing_a_used_value_names_the_users() -> None:
    _, rewriter, (_, neg, *_) = graph_of('%0 = neg %x loc "n"', "%1 = neg %0", "return %1")
    with pytest.raises(VerifyError) as error:
        rewriter.erase(neg)
    assert str(error.value) == (
        "error[V003]: neg is erased but still used\n  --> n\n   | %1 = neg %0 : u4[2] in [0, 15]"
    )


def test_operations_of_other_graphs_are_refused() -> None:
    _, rewriter, (x, neg, *_) = graph_of("%0 = neg %x", "return %x")
    _, _, (_, foreign, _) = graph_of("%0 = neg %x", "return %x")
    with pytest.raises(VerifyError, match="neg is not in graph 'main'"):
        rewriter.erase(foreign)
    with pytest.raises(VerifyError, match="neg is not in graph 'main'"):
        rewriter.insert(Neg(x.result), before=foreign)
    with pytest.raises(VerifyError, match="neg is in a graph already"):
        rewriter.insert(neg)
    rewriter.erase(neg)
    with pytest.raises(VerifyError, match="neg is not in graph 'main'"):
        rewriter.erase(neg)


def test_merge() -> None:
    assert merge(("a", "b"), ("b", "c")) == ("a", "b", "c")
