"""Which operations the driver shows to which rules, and when it looks again."""

from lutra.ir.core import Graph, Op
from lutra.ir.ops import AddClear, Neg, Onnx
from lutra.ir.parser import parse_graph
from lutra.ir.rewriter import Rewriter
from lutra.passes.base import Context
from lutra.passes.canonicalize import Canonicalize
from lutra.passes.rules import Outcome, RuleIndex, apply_rules, benefit, no, on

NODES = """
    %x = input : float32[2]
    %0 = onnx.Relu %x : float32[2]
    %1 = onnx.Tanh %0 : float32[2]
    %2 = onnx.Relu %1, domain="mine" : float32[2]
    return %2
"""


@on("Relu", "Abs")
def of_some_types(op: Onnx, rw: Rewriter) -> Outcome:
    return no("never")


def of_every_type(op: Onnx, rw: Rewriter) -> Outcome:
    return no("never")


@benefit(2)
def better(op: Onnx, rw: Rewriter) -> Outcome:
    return no("never")


def of_another_class(op: Neg, rw: Rewriter) -> Outcome:
    return no("never")


def test_rules_are_found_by_class_and_type() -> None:
    index = RuleIndex([of_some_types, of_every_type, better, of_another_class])
    found = [index.rules_for(op) for op in parse_graph(NODES).ops]
    usual = [better, of_every_type]
    assert found == [[], [better, of_some_types, of_every_type], usual, usual, []]


def test_the_driver_starts_where_it_is_told() -> None:
    graph = parse_graph(NODES)
    seen: list[Op] = []

    def watch(op: Onnx, rw: Rewriter) -> Outcome:
        seen.append(op)
        return no("never")

    start = list(graph.of(Onnx))[1:2]
    apply_rules(graph, Rewriter(graph), [watch], start=start)
    assert seen == start


def test_a_reader_is_seen_again_when_it_is_left_alone() -> None:
    graph = parse_graph("""
        %x = input : u4[] in [0, 15]
        %0 = neg %x
        %1 = add_clear %0, c=1
        %2 = add_clear %0, c=2
        %3 = neg %2
        return %1
    """)

    def drop_negation(op: AddClear, rw: Rewriter) -> Outcome:
        if not isinstance(op.x.owner, Neg) or not op.x.used_once:
            return no("its operand is no negation read only here")
        rw.replace(op, AddClear(op.x.owner.x, op.c))
        return None

    rewriter = Rewriter(graph)
    apply_rules(graph, rewriter, [drop_negation, of_another_class], start=[*graph.of(AddClear)][:1])
    assert not rewriter.changes
    rewriter = Rewriter(graph)
    apply_rules(graph, rewriter, [drop_negation, of_another_class])
    assert [op.opname for op in graph.ops] == ["input", "add_clear", "return"]


def deep(steps: int) -> Graph:
    lines = ["%0 = input : float32[2]"]
    for i in range(steps):
        kind = ("Relu", "Neg", "Tanh", "Identity")[i % 4]
        lines.append(f"%{i + 1} = onnx.{kind} %{i} : float32[2]")
    return parse_graph("\n".join([*lines, f"return %{steps}"]))


def test_depth_is_no_obstacle() -> None:
    graph = deep(3000)
    Canonicalize().run(graph, Rewriter(graph), Context())
    assert {op.op_type for op in graph.of(Onnx)} == {"Relu", "Tanh", "Mul"}
