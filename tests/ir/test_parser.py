"""The parser reads what the printer writes, and points at what it cannot read."""

import numpy as np
import pytest

from lutra.ir.core import Input
from lutra.ir.errors import CODES, TextError
from lutra.ir.ops import Constant, Conv, MatMul, Observe, Onnx
from lutra.ir.parser import parse_graph, parse_module
from lutra.ir.types import Int, Tensor


def test_a_graph() -> None:
    graph = parse_graph("""
        # comments and types may stand or be left out
        %x = input : u4[1x2] in [0, 15]   # one range for all elements
        %0 = matmul %x, w=[[3, -2], [1, -4]] : i8[1x2] in [-90, 60]  loc "/fc1/Gemm", "b"
        %y = neg %0
        return %y, %0, names=["y", "z"]
    """)
    node, product, negated, end = graph.ops
    assert isinstance(node, Input)
    assert (node.name, node.type) == ("x", Int.of((1, 2), 0, 15))
    assert isinstance(product, MatMul)
    assert product.w.dtype == np.int64
    assert product.loc == ("/fc1/Gemm", "b")
    assert graph.outputs == (negated.result, product.result)
    assert product.result.users == [negated, end]
    assert graph.output_names == ("y", "z")


def test_defaults_of_attributes() -> None:
    graph = parse_graph("""
        %x = input : u1[1x1x5] in [0, 1]
        %0 = conv %x, w=[[[1, 1]]]
        return %0
    """)
    (conv,) = graph.of(Conv)
    assert (conv.strides, conv.dilations, conv.group) == ((1,), (1,), 1)


def test_modules() -> None:
    module = parse_module("""
        graph encode {
          %x = input : float32[2]
          return %x
        }
        graph circuit {
          %x = input : u2[2] in [0, 3]
          %y = neg %x return %y }
        graph decode { return }
    """)
    assert list(module.graphs) == ["encode", "circuit", "decode"]
    assert module.partitioned
    assert module.encode.inputs[0].type == Tensor((2,))
    assert module.decode.outputs == ()


def test_onnx_nodes() -> None:
    graph = parse_graph("""
        %"a b" = input : float32[1x2]
        %m = constant value=float32 (1.5)
        %0 = onnx.Clip %"a b", none, %m : float32[1x2]
        %1 = onnx.LeakyRelu %0, alpha=0.25 : float32[1x2]
        %2, %3 = onnx.Split %1, axis=1, num_outputs=2 : float32[1x1], float32[1x1]
        %4 = onnx.Odd %2, domain="mine", text="a\\nb", flags=[1, 2] : float64[1x7]
        return %3, %4
    """)
    clip, leaky, split, odd = graph.of(Onnx)
    assert graph.inputs[0].name == "a b"
    assert clip.inputs[1] is None
    assert clip.input(1) is None
    assert clip.input(7) is None
    assert dict(leaky.attrs) == {"alpha": 0.25}
    assert len(split.results) == 2
    assert (odd.domain, odd.attrs["text"], odd.attrs["flags"]) == ("mine", "a\nb", [1, 2])
    assert odd.result.type == Tensor((1, 7), "float64")


@pytest.mark.parametrize(
    ("text", "array"),
    [
        ("[1, 2]", np.array([1, 2], np.int64)),
        ("[[1.5], [-inf]]", np.array([[1.5], [-np.inf]], np.float32)),
        ("3", np.array(3, np.int64)),
        ("3.0", np.array(3, np.float32)),
        ("float64 [1, 2.5e-3]", np.array([1, 2.5e-3])),
        ("uint8 (7)", np.array(7, np.uint8)),
        ("bool [true, false]", np.array([True, False])),
        ("float32[0x3]()", np.zeros((0, 3), np.float32)),
        ("float16 [nan]", np.array([np.nan], np.float16)),
        ('str32 ["a"]', np.array(["a"])),
        ("@big", np.arange(3)),
    ],
)
def test_arrays(text: str, array: np.ndarray) -> None:
    graph = parse_graph(f"%0 = constant value={text}\nreturn %0", {"big": np.arange(3)})
    (constant,) = graph.of(Constant)
    assert constant.value.dtype == array.dtype
    assert constant.value.shape == array.shape
    np.testing.assert_array_equal(constant.value, array)


def test_integers_serve_as_floats() -> None:
    graph = parse_graph("%x = input : float32[]\n%0 = observe %x, lo=-1, hi=2\nreturn %0")
    (observe,) = graph.of(Observe)
    assert (type(observe.lo), observe.hi) == (float, 2.0)


X = "%x = input : u4[2] in [0, 15]\n"
Y = X + "%0 = "
F = "%x = input : float32[2]\n"


@pytest.mark.parametrize(
    ("text", "at", "message"),
    [
        (Y + "neg %y", "%y", "%y is not defined above"),
        (X + "%x = neg %x", "%x", "%x is defined above"),
        (Y + "negg %x", "negg", "did you mean 'neg'?"),
        (Y + "add %x", "add", "the operands of `add` are x, y"),
        (Y + "add %x %x", "add", "the operands of `add` are x, y"),
        (Y + "neg %x, %x", "neg", "the operands of `neg` are x"),
        (Y + "neg none", "neg", "the operands of `neg` are x"),
        (Y + "add %x, , %x", ",", "an operand or an attribute is expected"),
        (Y + "round %x", "round", "missing 1 required positional argument: 'lsbs'"),
        (Y + "round %x, lsb=2", "round", "did you mean 'lsbs'?"),
        (Y + "round %x, lsbs=1.5", "round", "lsbs is declared as int, got 1.5"),
        (Y + "round %x, lsbs=true", "round", "lsbs is declared as int, got True"),
        (Y + "round %x, lsbs=1, exact=1", "round", "exact is declared as bool, got 1"),
        (Y + "sum %x, axes=0", "sum", "axes is declared as tuple, got 0"),
        (Y + "sum %x, axes=[0.5]", "sum", "axes is declared as int, got 0.5"),
        (Y + "sum %x, axes=[2]", "sum", "axes (2,) are not axes"),
        (Y + "add_clear %x, c=[0.5]", "add_clear", "integers are expected, got 0.5"),
        (Y + "add_clear %x, c=[[1], [1, 2]]", "add_clear", "inhomogeneous"),
        (Y + "add_clear %x, c=99999999999999999999", "add_clear", "integers are expected"),
        (Y + "add_clear %x, c=@c0", "@c0", "@c0 is not among the constants given"),
        (Y + "add_clear %x, c=float7 [1]", "float7", "float7"),
        (Y + "add_clear %x, c=int8 [[1], [1, 2]]", "int8", "inhomogeneous"),
        (Y + "add_clear %x, c=u1[1] in [0, 1]()", "u1[1]", "an attribute's value is expected"),
        (Y + "add_clear %x, c=[1", None, "',' is expected, found the end of the text"),
        (Y + "add_clear %x, c=", None, "an attribute's value is expected"),
        (Y + "neg %x : i5[2] in [-15, 1]", "i5[2]", "the type is i5[2] in [-15, 0], not i5[2]"),
        (Y + "neg %x : i4[2] in [-15, 0]", "i4[2]", "the type is i5[2] in [-15, 0], not i4"),
        (Y + "neg %x : u4[2] in [3, 1]", "u4[2]", "a range is empty"),
        (Y + "neg %x : i5[2] in [-15, 0], u1[1] in [0, 1]", "i5", "neg has 1 results, 2 types"),
        (X + "%0, %1 = neg %x", "%0", "neg has 1 results, 2 are named"),
        (X + "%0 %1 = neg %x", "%1", "'=' is expected, found '%1'"),
        (Y + "neg %x loc 5", "5", "a string is expected, found '5'"),
        (Y + 'neg %x loc "\\q"', '"\\q"', "the string is not JSON"),
        (X + "return %x, names=[1]", "return", "names is declared as str, got 1"),
        (X + "return %x, names=[]  }", "}", "a name is expected, found '}'"),
        (X + "$", "$", "a name is expected, found '$'"),
        ("%x = input", "input", "an input reads `%name = input : type`"),
        ("%x = input : float7[2]", "float7[2]", "float7"),
        ("%x = input : u4[2] in [0, 99999999999999999999]", "u4[2]", "a value reaches 1e+20"),
        ("input : u1[2] in [0, 1]", "input", "an input reads `%name = input : type`"),
        ("graph a { return } graph a { return }", "a { return }", "there is a graph 'a' above"),
        ("graph a { return", None, "a name is expected, found the end of the text"),
        ("graph a { return } return", "return", "the end of the text is expected, found 'return'"),
        (F + "%0 = onnx.Relu %x : float32[3]", "onnx.Relu", "the type of Relu is float32[2], not"),
        (F + "%0 = neg %x", "neg", "an integer is expected here, got float32[2]"),
    ],
)
def test_errors_point_at_the_fault(text: str, at: str | None, message: str) -> None:
    with pytest.raises(TextError) as caught:
        parse_module(text)
    error = caught.value
    assert message in error.message
    line, caret = error.lines
    row = text.split("\n").index(line)
    column = caret.index("^")
    assert error.message.startswith(f"line {row + 1}, column {column + 1}: ")
    assert set(caret) <= {" ", "^"}
    if at is None:
        assert column == len(line)
    else:
        assert line[column:].startswith(at)
    assert error.code in CODES


def test_the_whole_error() -> None:
    with pytest.raises(TextError) as caught:
        parse_graph("%x = input : u4[2] in [0, 15]\n%0 = neg %y\n")
    assert str(caught.value) == (
        "error[T001]: line 2, column 10: %y is not defined above\n"
        "   | %0 = neg %y\n"
        "   |          ^^"
    )


@pytest.mark.parametrize("text", ["", "\n\n", "# no more\n", "  \t"])
def test_what_is_blank_ends_a_text(text: str) -> None:
    assert len(list(parse_graph(X + text).ops)) == 1


@pytest.mark.parametrize("text", ["%", '"', "²", "é", "-", "@", "["])
def test_odd_signs_are_refused(text: str) -> None:
    for whole in (X + text, f"{Y}add_clear %x, c={text}", f"{Y}neg %x : {text}"):
        with pytest.raises(TextError):
            parse_graph(whole)
