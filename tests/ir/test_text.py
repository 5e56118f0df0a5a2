"""The printed form: names, elided constants, every kind of attribute."""

import numpy as np
import pytest

from lutra.ir.core import Graph, Module
from lutra.ir.ops import AddClear, Constant, IntConstant, Neg, Onnx
from lutra.ir.parser import parse_graph, parse_module
from lutra.ir.rewriter import Rewriter
from lutra.ir.text import Printer, text_of_module
from lutra.ir.types import Array, Int, Tensor


def test_one_line_each() -> None:
    text = (
        "%x = input : u4[1x2] in [0, 15]\n"
        '%0 = matmul %x, w=[[3, -2], [1, -4]] : i8[1x2] in [-90, 60]  loc "/fc1/Gemm"\n'
        "return %0\n"
    )
    assert str(parse_graph(text)) == text


def test_names_do_not_collide() -> None:
    graph = Graph()
    rewriter = Rewriter(graph)
    inputs = [rewriter.input(name, Int.of((), 0, 1)) for name in ("0", "a b", "é", "2", "")]
    rewriter.returns([Neg(value).result for value in inputs])
    text = str(graph)
    assert text.split("\n")[1].startswith('%"a b" = input')
    again = parse_graph(text)
    assert str(again) == text
    assert [node.name for node in again.inputs] == ["0", "a b", "é", "2", ""]


def test_operations_alone_are_numbered_as_in_their_graph() -> None:
    graph = parse_graph("""
        %x = input : u1[] in [0, 1]
        %0 = neg %x
        %1 = neg %0
        return %1
    """)
    assert repr(list(graph.ops)[2]) == "%1 = neg %0 : u1[] in [0, 1]"
    assert repr(Neg(graph.inputs[0].result)) == "%0 = neg %x : i1[] in [-1, 0]"
    assert repr(graph.outputs[0]) == "<neg result 0: u1[] in [0, 1]>"


def test_large_arrays_are_elided() -> None:
    graph = Graph()
    rewriter = Rewriter(graph)
    x = rewriter.input("x", Int.of((40,), 0, 1))
    rewriter.returns([AddClear(x, np.arange(40)).result])
    assert "add_clear %x, c=<int64[40]> :" in str(graph)
    constants: dict[str, Array] = {}
    text = text_of_module(Module([graph]), limit=8, constants=constants)
    assert "add_clear %x, c=@c0 :" in text
    np.testing.assert_array_equal(constants["c0"], np.arange(40))


def test_constants_of_several_graphs_share_one_table() -> None:
    constants: dict[str, Array] = {}
    graphs = []
    for name in ("encode", "circuit", "decode"):
        graph = Graph(name)
        Rewriter(graph).returns([IntConstant(np.full(3, len(name))).result])
        graphs.append(graph)
    text = text_of_module(Module(graphs), limit=0, constants=constants)
    assert list(constants) == ["c0", "c1", "c2"]
    again = parse_module(text, constants)
    assert text_of_module(again, limit=0, constants={}) == text
    assert text.startswith("graph encode {\n  %0 = int_constant value=@c0 : ")


@pytest.mark.parametrize(
    "value",
    [
        np.array([0.1, -1e-30, 3e38, -0.0], np.float32),
        np.array([0.1, 1e-300]),
        np.array(5),
        np.array([], np.float32).reshape(0, 2),
        np.array([[True]]),
        np.array([1, 255], np.uint8),
        np.array([np.nan, np.inf, -np.inf], np.float32),
        np.array([0.1], np.float16),
        np.array(["a", 'b"c']),
        np.array(2**62),
    ],
    ids=str,
)
def test_constants_keep_type_and_bits(value: Array) -> None:
    for op in (
        Constant(value),
        Onnx((), "Odd", (Tensor((1,)),), {"value": value}, "mine"),
    ):
        graph = Graph()
        Rewriter(graph).returns([op.result])
        text = text_of_module(Module([graph]), limit=None)
        again = next(parse_graph(text).ops)
        kept = again.value if isinstance(again, Constant) else again.attributes["attrs"]["value"]
        assert (kept.dtype, kept.shape) == (value.dtype, value.shape)
        assert kept.tobytes() == value.tobytes()


def test_attributes_without_a_textual_form() -> None:
    with pytest.raises(TypeError, match="no textual form for an attribute of type object"):
        Printer().attribute(object())
    assert Printer().attribute({"a": [1, 2.5, "x", True]}) == '{"a"=[1, 2.5, "x", true]}'
