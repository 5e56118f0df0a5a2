"""Declaring operations, use-lists, graphs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from lutra.ir.core import OPS, Graph, Input, Module, Op, Return, Value, op
from lutra.ir.errors import PipelineError, VerifyError
from lutra.ir.ops import Add, Concat, Constant, MatMul, Neg, Onnx
from lutra.ir.parser import parse_graph
from lutra.ir.rewriter import Rewriter
from lutra.ir.types import Array, Int, Ints, Tensor

TEXT = """
%x = input : u4[2] in [0, 15]
%0 = neg %x  loc "a"
%1 = add %0, %0
%2 = concat %1, %x, %1, axis=0
return %2
"""


@pytest.fixture
def own_ops() -> Iterator[None]:
    """Operations declared in a test vanish behind it."""
    before = dict(OPS)
    yield
    OPS.clear()
    OPS.update(before)


def test_fields_are_operands_or_attributes() -> None:
    assert (MatMul.operand_fields, MatMul.attribute_fields) == (("x",), ("w",))
    assert (Concat.operand_fields, Concat.attribute_fields) == (("xs",), ("axis",))
    assert Onnx.operand_fields == ("inputs",)
    assert Return.operand_fields == ("values",)
    assert all(cls.opname == name for name, cls in OPS.items())
    assert all(cls.__doc__ for cls in OPS.values())


@pytest.mark.usefixtures("own_ops")
def test_an_operation_of_a_plugin_prints_parses_and_runs() -> None:
    @op("mine.scale")
    class Scale(Op):
        """x * factor."""

        x: Value
        factor: int
        extra: Ints

        def infer(self) -> Int:
            x = self.x.int_type
            return Int.of(x.shape, x.lo * self.factor, x.hi * self.factor)

        def check(self) -> Iterator[str]:
            if self.factor < 1:
                yield f"factor={self.factor} is below 1"

        def eval(self, x: Array) -> Array:
            return x * self.factor

    text = (
        "%x = input : u2[] in [0, 3]\n"
        "%0 = mine.scale %x, factor=2, extra=[1, 2] : u3[] in [0, 6]\n"
        "return %0\n"
    )
    graph = parse_graph(text)
    assert str(graph) == text
    assert isinstance(graph.outputs[0].owner, Scale)
    with pytest.raises(VerifyError, match=r"V001.*mine.scale: factor=0 is below 1"):
        Scale(graph.inputs[0].result, factor=0, extra=np.array([1]))


@pytest.mark.usefixtures("own_ops")
def test_two_modules_cannot_declare_one_name() -> None:
    with pytest.raises(PipelineError, match=r"P006.*lutra.ir.ops.linear and .*test_core.*'neg'"):

        @op("neg")
        class Other(Op):
            """Not that one."""


def test_what_a_subclass_leaves_out() -> None:
    class Nothing(Op):
        opname = "nothing"

    with pytest.raises(NotImplementedError):
        Nothing.infer(object.__new__(Nothing))
    with pytest.raises(NotImplementedError):
        Nothing.eval(object.__new__(Nothing))


def test_users_are_named_once() -> None:
    graph = parse_graph(TEXT)
    x, neg, add, concat, end = graph.ops
    assert x.result.users == [neg, concat]
    assert neg.result.users == [add]
    assert neg.result.used_once
    assert add.result.users == [concat]
    assert concat.operands == (add.result, x.result, add.result)
    assert concat.result.users == [end]


def test_values_know_their_type() -> None:
    x = Input("x", Tensor((2,))).result
    with pytest.raises(VerifyError, match=r"an integer is expected here, got float32\[2\]"):
        _ = x.int_type
    assert x.shape == (2,)


def test_an_input_has_one_range() -> None:
    with pytest.raises(VerifyError, match="one range for all its elements"):
        Input("x", Int.of((2,), [0, 1], 5))


def test_copy_reads_other_values() -> None:
    graph = parse_graph(TEXT)
    x, neg, add, concat, _ = graph.ops
    twin = concat.copy({add.result: x.result}, axis=0)
    assert twin.operands == (x.result,) * 3
    assert twin.graph is None
    assert neg.copy({}).loc == ("a",)


def test_operations_may_be_erased_while_iterating() -> None:
    graph = parse_graph("""
        %x = input : u4[2] in [0, 15]
        %0 = neg %x
        %1 = neg %x
        %2 = neg %x
        return %x
    """)
    rewriter, seen = Rewriter(graph), []
    for node in graph.ops:
        seen.append(node.opname)
        if isinstance(node, Neg):
            for other in list(graph.of(Neg))[:2]:  # itself and the next
                rewriter.erase(other)
    assert seen == ["input", "neg", "neg", "return"]
    assert [node.opname for node in graph.ops] == ["input", "return"]


def test_a_graph_ends_with_return() -> None:
    graph = Graph("g")
    with pytest.raises(VerifyError, match="graph 'g' does not end with `return`"):
        _ = graph.outputs
    Rewriter(graph).input("x", Tensor(()))
    with pytest.raises(VerifyError):
        _ = graph.terminator


def test_output_names() -> None:
    graph = parse_graph(TEXT)
    assert graph.output_names == ("output_0",)
    Rewriter(graph).returns(graph.outputs * 2, ["a", "b"])
    assert graph.output_names == ("a", "b")
    with pytest.raises(VerifyError, match="1 names for 2 values"):
        Rewriter(graph).returns(graph.outputs, ["a"])


def test_modules() -> None:
    module = Module([parse_graph(TEXT)])
    assert not module.partitioned
    assert str(module.clone()) == str(module) == str(module.main)
    parts = Module(Graph(name) for name in ("encode", "circuit", "decode"))
    for graph in parts.graphs.values():
        Rewriter(graph).returns([])
    assert parts.partitioned
    assert str(parts.clone()) == str(parts)
    assert (parts.encode.name, parts.circuit.name, parts.decode.name) == tuple(parts.graphs)


def test_adding_a_value_to_itself() -> None:
    x = Input("x", Int.of((), 0, 3)).result
    add = Add(x, x)
    assert add.operands == (x, x)


def test_clear_is_what_depends_on_constants_alone() -> None:
    graph = parse_graph("""
        %x = input : float32[2]
        %c = constant value=[1.0, 2.0]
        %w = int_constant value=[1, 2]
        %0 = dequantize %w, scale=0.5, zero_point=0, offset=0.0
        %1 = onnx.Add %c, %0 : float32[2]
        %2 = onnx.Add %1, %x : float32[2]
        %3 = onnx.RandomNormal shape=[2] : float32[2]
        return %2, %3
    """)
    clear = [all(value.constant for value in node.results) for node in graph.ops]
    assert clear == [False, True, True, True, True, False, False, True]  # `return` has no results
    assert [v.constant for node in graph.clone().ops for v in node.results] == clear[:-1]


def test_clear_follows_what_is_replaced_through_any_depth() -> None:
    graph = Graph()
    rewriter = Rewriter(graph)
    x = last = rewriter.input("x", Tensor((1,)))
    for _ in range(3000):
        last = rewriter.insert(Onnx((last,), "Relu", (Tensor((1,)),), {})).result
    rewriter.returns([last])
    assert not last.constant
    constant = rewriter.insert(Constant(np.float32([1])), before=x.owner)
    rewriter.replace_uses(x, constant.result)
    assert last.constant
    assert last.type == Tensor((1,))


def test_a_copy_derives_types_only_where_its_operands_have_others() -> None:
    graph = parse_graph(TEXT)
    (negation,) = graph.of(Neg)
    same = negation.copy({})
    assert same.result.type is negation.result.type
    other = negation.copy({negation.x: Input("y", Int.of((3,), 1, 2)).result})
    assert other.result.type == Int.of((3,), -2, -1)


@pytest.mark.usefixtures("own_ops")
def test_operands_may_be_single_and_several() -> None:
    @op("mine.gather")
    class Pick(Op):
        """One of xs."""

        index: Value
        xs: tuple[Value, ...]

        def infer(self) -> Int:
            return Int.of((), 0, 9)

    a, b, c = (Input(name, Int.of((), 0, 9)).result for name in "abc")
    assert Pick(a, (b, c)).operands == (a, b, c)
    x = Input("x", Tensor(())).result
    assert Onnx((x, None, x), "Mine", (), {}, "mine").operands == (x, x)
