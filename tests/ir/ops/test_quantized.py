"""Between floats and integers: onnxruntime's own quantization is the reference."""

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, helper

from lutra.ir import ort
from lutra.ir.core import Input
from lutra.ir.errors import TextError
from lutra.ir.ops import Dequantize, IntConstant, Observe, Quantize
from lutra.ir.parser import parse_graph
from lutra.ir.types import Array, Int, Tensor


def run_onnx(op_type: str, x: Array, scale: Array, zero_point: Array) -> Array:
    """QuantizeLinear or DequantizeLinear along axis 1."""
    arrays = {"x": x, "scale": scale, "zero_point": zero_point}
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for name, a in arrays.items()
    ]
    quantizes = op_type == "QuantizeLinear"
    kind = infos[2].type.tensor_type.elem_type if quantizes else TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node(op_type, list(arrays), ["y"], axis=1)],
        "g", infos, [helper.make_tensor_value_info("y", kind, x.shape)],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=ort.opset_imports([]), ir_version=ort.IR_VERSION)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return np.asarray(session.run(None, arrays)[0])


SCALES = hnp.arrays(np.float32, (3,), elements=st.floats(0.0078125, 8, width=32))


@given(
    hnp.arrays(np.float32, (4, 3), elements=st.floats(-100, 100, width=32)),
    SCALES,
    hnp.arrays(np.int8, (3,)),
)
def test_quantize_is_that_of_onnx(x: Array, scale: Array, zero_point: Array) -> None:
    op = Quantize(Input("x", Tensor((3,))).result, scale, zero_point, -128, 127)
    wanted = run_onnx("QuantizeLinear", x, scale, zero_point)
    np.testing.assert_array_equal(op.eval(x), wanted)
    assert op.result.type == Int.of((3,), -128, 127)


@given(hnp.arrays(np.int8, (4, 3)), SCALES, hnp.arrays(np.int8, (3,)))
def test_dequantize_is_that_of_onnx(q: Array, scale: Array, zero_point: Array) -> None:
    op = Dequantize(Input("q", Int.of((3,), -128, 127)).result, scale, zero_point, np.array(0))
    wanted = run_onnx("DequantizeLinear", q, scale, zero_point)
    np.testing.assert_array_equal(op.eval(q.astype(np.int64)), wanted)
    assert op.result.type == Tensor((3,))


def test_halves_go_to_even_and_ends_clip() -> None:
    op = Quantize(Input("x", Tensor((6,))).result, np.array(1), np.array(0), -2, 3)
    x = np.array([[-9.0, -1.5, -0.5, 0.5, 1.5, 9.0]])
    assert op.eval(x).tolist() == [[-2, -2, 0, 0, 2, 3]]
    assert op.scale.dtype == np.float32


def test_rounding_is_told_where_it_is_unusual() -> None:
    head = "%x = input : float32[2]\n%0 = quantize %x, scale=1.0, zero_point=0, lo=0, hi=3"
    for written, kept in [("half_even", ""), ("floor", ', rounding="floor"')]:
        graph = parse_graph(f'{head}, rounding="{written}"\nreturn %0')
        assert str(graph) == f"{head}{kept} : u2[2] in [0, 3]\nreturn %0\n"
        assert str(parse_graph(str(graph))) == str(graph)


def test_rounding_comes_before_the_zero_point() -> None:
    x = Input("x", Tensor((2,))).result
    op = Quantize(x, np.array(1), np.array(-3), -9, 9, "up")
    assert op.eval(np.array([[0.25, -0.25]])).tolist() == [[-2, -4]]


def test_offset_is_added() -> None:
    q = Input("q", Int.of((2,), 0, 3)).result
    op = Dequantize(q, np.array([0.5, 2.0]), np.array(1), np.array([10.0, 20.0]))
    assert op.eval(np.array([[0, 3]])).tolist() == [[9.5, 24.0]]


def test_clear_integers() -> None:
    op = IntConstant(np.array([[1, -2], [3, 4]]))
    assert op.result.type == Int.of((2, 2), [[1, -2], [3, 4]], [[1, -2], [3, 4]])
    assert op.eval().shape == (1, 2, 2)


def test_observe_is_the_identity() -> None:
    op = Observe(Input("x", Tensor((2,))).result, -1.0, 1.0)
    x = np.array([[5.0, 6.0]], np.float32)
    assert op.eval(x) is x
    assert op.result.type == Tensor((2,))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("quantize %q, scale=1.0, zero_point=0, lo=0, hi=1", "x is u2[2] in [0, 3], not a float"),
        ("quantize %x, scale=0.0, zero_point=0, lo=0, hi=1", "a scale is not positive"),
        ("quantize %x, scale=nan, zero_point=0, lo=0, hi=1", "a scale is not positive"),
        ("quantize %x, scale=1.0, zero_point=0, lo=2, hi=1", "lo=2 is above hi=1"),
        ("quantize %x, scale=[1.0, 2.0, 3.0], zero_point=0, lo=0, hi=1", "scale (3,) does not"),
        ("quantize %x, scale=1.0, zero_point=[0, 1, 2], lo=0, hi=1", "zero_point (3,) does not"),
        ('quantize %x, scale=1.0, zero_point=0, lo=0, hi=1, rounding="floo"', "mean 'floor'?"),
        ("quantize %x, scale=1.0, zero_point=0.5, lo=0, hi=1", "integers are expected"),
        ("dequantize %q, scale=[1.0, 2.0, 3.0], zero_point=0, offset=0.0", "scale (3,) does not"),
        ("dequantize %q, scale=1.0, zero_point=0, offset=[[0.0], [1.0]]", "offset (2, 1) does not"),
        ("dequantize %x, scale=1.0, zero_point=0, offset=0.0", "an integer is expected here"),
        ("observe %x, lo=1.0, hi=0.0", "lo=1.0 is above hi=0.0"),
        ("observe %x, lo=nan, hi=0.0", "lo=nan is above hi=0.0"),
    ],
)
def test_refusals(line: str, message: str) -> None:
    with pytest.raises(TextError) as error:
        parse_graph(
            f"%x = input : float32[2]\n%q = input : u2[2] in [0, 3]\n%0 = {line}\nreturn %0"
        )
    assert message in error.value.message
