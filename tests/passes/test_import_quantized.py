"""What the formats of quantized models become; onnxruntime says what they mean."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import lutra
from lutra.frontends.onnx import import_model
from lutra.ir.core import Module
from lutra.ir.errors import ModelError
from lutra.ir.interpreter import evaluate
from lutra.ir.ops import Dequantize, IntConstant, MatMul, Onnx, Quantize
from lutra.ir.parser import parse_module
from lutra.ir.rounding import ROUNDINGS
from lutra.ir.types import Array
from lutra.passes import Context, Pipeline
from onnx_models import model_of, run

RNG = np.random.default_rng(0)


def imported(source: str | onnx.ModelProto, *pipeline: str) -> tuple[Module, Context]:
    """A model after the pass, which changes no result, and what the pass leaves in its context."""
    module = import_model(model_of(source, 21) if isinstance(source, str) else source)
    before = module.clone()
    context = Context()
    Pipeline.parse(",".join(["import-quantized", *pipeline])).execute(module, context)
    shape = module.main.inputs[0].type.shape
    x = np.rint(RNG.uniform(-40, 40, (50, *shape))).astype(np.float32) / 8
    feeds = {module.main.inputs[0].name: x}
    for new, old in zip(evaluate(module.main, feeds), evaluate(before.main, feeds), strict=True):
        assert new.dtype == old.dtype
        np.testing.assert_allclose(new, old, rtol=1e-5, atol=1e-5)
    return module, context


def op_types(module: Module) -> list[str]:
    return [op.op_type for op in module.main.of(Onnx)]


# --- QuantizeLinear and DequantizeLinear ----------------------------------------------------------
def test_layers_with_weights_of_their_own_are_noted() -> None:
    module, context = imported("""
        g (float[N, 2] x) => (float[N, 2] y)
        <float s = {0.5}, int8[2, 2] w = {1, 2, 3, 4}, float[2, 2] v = {1, 2, 3, 4}> {
          q = QuantizeLinear(x, s)
          d = DequantizeLinear(q, s)
          dw = DequantizeLinear(w, s)
          t = Transpose(dw)
          [own] h = MatMul(d, t)
          [float] y = MatMul(h, v)
        }""")
    assert context.notes.brought == {"own"}
    assert op_types(module) == ["Transpose", "MatMul", "MatMul"]


@pytest.mark.parametrize(
    ("kind", "lo", "hi"),
    [("uint8", 0, 255), ("int8", -128, 127), ("uint16", 0, 65535), ("int4", -8, 7)],
)
def test_bits_are_those_of_the_type(kind: str, lo: int, hi: int) -> None:
    model = model_of(
        """
        g (float[N, 2] x) => (float[N, 2] y) <float s = {0.5}, float[2, 2] v = {1, 2, 3, 4}> {
          q = QuantizeLinear(x, s, z)
          d = DequantizeLinear(q, s, z)
          y = MatMul(d, v)
        }""",
        21,
    )
    element = onnx.TensorProto.DataType.Value(kind.upper())
    model.graph.initializer.append(onnx.helper.make_tensor("z", element, [], [1]))
    module, _ = imported(model)
    (quantize,) = module.main.of(Quantize)
    assert (quantize.lo, quantize.hi) == (lo, hi)
    assert quantize.zero_point == 1


def test_axes_and_blocks() -> None:
    module, _ = imported("""
        g (float[N, 2, 3] x) => (float[N, 2, 2] y)
        <float[2] s = {0.5, 0.25}, int8[2] z = {1, -1}, int8[3, 2] w = {1, 2, 3, 4, 5, 6},
         float[3, 1] sw = {0.5, 2, 1}> {
          q = QuantizeLinear<axis = -2>(x, s, z)
          d = DequantizeLinear<axis = -2>(q, s, z)
          dw = DequantizeLinear<axis = 1, block_size = 2>(w, sw)
          y = MatMul(d, dw)
        }""")
    (quantize,) = module.main.of(Quantize)
    assert quantize.scale.tolist() == [[[0.5], [0.25]]]
    assert quantize.zero_point.tolist() == [[[1], [-1]]]
    (weights,) = (op for op in module.main.of(Dequantize) if isinstance(op.q.owner, IntConstant))
    assert weights.scale.tolist() == [[0.5], [2.0], [1.0]]


def test_doubles_stay_doubles() -> None:
    module, _ = imported("""
        g (double[N, 2] x) => (double[N, 2] y) <double[2, 2] v = {1, 2, 3, 4}, float s = {0.5}> {
          f = Cast<to = 1>(x)
          q = QuantizeLinear(f, s)
          d = DequantizeLinear(q, s)
          e = Cast<to = 11>(d)
          y = MatMul(e, v)
        }""")
    assert op_types(module) == ["Cast", "Cast", "MatMul"]


def test_integers_that_the_model_reads() -> None:
    module = import_model(
        model_of("""
        g (uint8[N, 3] x) => (float[N, 1] y)
        <float s = {0.5}, uint8 z = {128}, float[2, 1] v = {1, 2},
         int64[1] one = {1}, int64[1] three = {3}> {
          part = Slice(x, one, three, one)
          d = DequantizeLinear(part, s, z)
          y = MatMul(d, v)
        }""")
    )
    before = module.clone()
    Pipeline.parse("import-quantized,check-support").execute(module)
    (quantize,) = module.main.of(Quantize)
    assert (quantize.lo, quantize.hi) == (0, 255)
    x = RNG.integers(0, 256, (20, 1, 3)).astype(np.uint8)
    np.testing.assert_array_equal(evaluate(module.main, [x]), evaluate(before.main, [x]))


def test_integers_that_somebody_else_reads_stay_as_well() -> None:
    module, _ = imported("""
        g (float[N, 2] x) => (uint8[N, 2] q, float[N, 2] y)
        <float s = {0.5}, float[2, 2] v = {1, 2, 3, 4}> {
          q = QuantizeLinear(x, s)
          d = DequantizeLinear(q, s)
          y = MatMul(d, v)
        }""")
    assert op_types(module) == ["QuantizeLinear", "MatMul"]


def test_a_scale_that_is_computed_is_refused() -> None:
    module, _ = imported("""
        g (float[N, 2] x) => (float[N, 2] y) <float[2, 2] v = {1, 2, 3, 4}> {
          h = MatMul(x, v)
          m = Abs(h)
          s = ReduceMax<keepdims = 0>(m)
          [q] q = QuantizeLinear(h, s)
          [d] d = DequantizeLinear(q, s)
          y = MatMul(d, v)
        }""")
    with pytest.raises(ModelError) as caught:
        Pipeline.parse("check-support").execute(module)
    assert {"q", "d"} <= set(caught.value.nodes)


def test_one_value_read_on_two_grids() -> None:
    module, _ = imported("""
        g (float[N, 2] x) => (float[N, 2] y)
        <float s = {0.5}, float t = {0.25}, uint8 z = {0}, uint8 o = {3},
         float[2, 2] v = {1, 2, 3, 4}> {
          q = QuantizeLinear(x, s, z)
          a = DequantizeLinear(q, s, z)
          b = DequantizeLinear(q, t, o)
          c = Add(a, b)
          y = MatMul(c, v)
        }""")
    assert len(list(module.main.of(Quantize))) == 1
    assert len(list(module.main.of(Dequantize))) == 2


@pytest.mark.parametrize(
    ("move", "channels"),
    [
        ("p = MaxPool<kernel_shape = [2, 2], pads = [1, 1, 0, 0]>(c)", 2),
        ("p = Transpose<perm = [0, 1, 3, 2]>(c)", 2),
        ("p = Concat<axis = 1>(c, c)", 4),
        ("p = Pad(c, pads, fill)", 2),
    ],
    ids=["MaxPool", "Transpose", "Concat", "Pad"],
)
def test_integers_are_moved(move: str, channels: int) -> None:
    ones = ", ".join("1" * channels)
    module, _ = imported(f"""
        g (float[N, 2, 4, 4] x) => (float[N, 1, 4, 4] y)
        <float s = {{0.5}}, uint8 z = {{8}}, uint8 top = {{15}}, uint8 fill = {{3}},
         int64[8] pads = {{0, 0, 1, 0, 0, 0, 0, 2}}, float[1, {channels}, 1, 1] w = {{{ones}}}> {{
          q = QuantizeLinear(x, s, z)
          c = Clip(q, , top)
          {move}
          d = DequantizeLinear(p, s, z)
          y = Conv(d, w)
        }}""")
    assert op_types(module) == [move.split()[2].split("<")[0].split("(")[0], "Conv"]
    assert {op.hi for op in module.main.of(Quantize)} == {15, 255}


# --- operators on quantized operands --------------------------------------------------------------
def around(body: str, last: int) -> onnx.ModelProto:
    """uint8 q of a float input -> `body`, which makes floats d [..., last] -> a float layer."""
    ones = ", ".join("1" * last)
    return model_of(
        f"""
        g (float[N, 2, 4, 4] x) => (float y)
        <float s = {{0.5}}, uint8 z = {{7}}, float t = {{0.25}}, uint8 o = {{100}}, int8 n = {{0}},
         int8[3, 2, 1, 1] w = {{1, -2, 3, 4, -5, 6}}, float[3] sw = {{0.5, 0.25, 1}},
         int8[3] zw = {{0, 0, 0}}, int32[3] b = {{10, -20, 30}}, int8[3] zv = {{1, 0, -1}},
         int8[4, 3] v = {{1, -2, 3, 4, -5, 6, 7, 8, -9, 0, 1, 2}}, int64[2] rows = {{8, 4}},
         float[{last}, 1] weights = {{{ones}}}> {{
          q = QuantizeLinear(x, s, z)
          {body}
          products = MatMul(d, weights)
          y = ReduceSum<keepdims = 0>(products)
        }}""",
        21,
        com_microsoft=1,
    )


@pytest.mark.parametrize(
    ("body", "last", "layer"),
    [
        ("r = QLinearConv(q, s, z, w, sw, zw, t, o, b)  d = DequantizeLinear(r, t, o)", 4, "Conv"),
        ("r = QLinearMatMul(q, s, z, v, t, n, t, o)  d = DequantizeLinear(r, t, o)", 3, "MatMul"),
        ("r = ConvInteger(q, w, z)  d = Cast<to = 1>(r)", 4, "Conv"),
        ("r = MatMulInteger(q, v, z, zv)  d = Cast<to = 1>(r)", 3, "MatMul"),
        (
            "a = Reshape(q, rows)  r = com.microsoft.QGemm<alpha = 0.5>(a, s, z, v, t, n, b, t, o)"
            "  d = DequantizeLinear(r, t, o)",
            3,
            "Gemm",
        ),
        ("a = Reshape(q, rows)  d = com.microsoft.QGemm(a, s, z, v, t, n)", 3, "Gemm"),
    ],
)
def test_layers_on_quantized_operands(body: str, last: int, layer: str) -> None:
    module, context = imported(around(body, last))
    assert layer in op_types(module)
    assert context.notes.brought
    assert not any(op.domain or "Linear" in op.op_type for op in module.main.of(Onnx))


@pytest.mark.parametrize(
    ("node", "last", "float_form"),
    [
        ("QLinearAdd(q, s, z, q, s, z, t, o)", 4, "Add"),
        ("QLinearMul(q, s, z, q, s, z, t, o)", 4, "Mul"),
        ("QLinearSigmoid(q, s, z, t, o)", 4, "Sigmoid"),
        ("QLinearLeakyRelu<alpha = 0.25>(q, s, z, t, o)", 4, "LeakyRelu"),
        ("QLinearGlobalAveragePool<channels_last = 0>(q, s, z, t, o)", 1, "GlobalAveragePool"),
        ("QLinearAveragePool<kernel_shape = [2, 2]>(q, s, z, t, o)", 3, "AveragePool"),
        ("QLinearConcat<axis = 1>(t, o, q, s, z, q, t, o)", 4, "Concat"),
    ],
)
def test_other_operators_on_quantized_operands(node: str, last: int, float_form: str) -> None:
    body = f"r = com.microsoft.{node}  d = DequantizeLinear(r, t, o)"
    module, _ = imported(around(body, last))
    assert float_form in op_types(module)
    assert not any(op.domain for op in module.main.of(Onnx))


# --- what onnxruntime writes ----------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["int4", "uint16"])
def test_quantizers_of_onnxruntime(kind: str) -> None:
    model = model_of(
        """
        g (float[N, 2] x) => (float[N, 2] y)
        <float s = {0.5}, float[2] sw = {0.25, 1}, float[2, 2] v = {1, 2, 3, 4}> {
          q = com.microsoft.QuantizeLinear(x, s, z)
          d = com.microsoft.DequantizeLinear(q, s, z)
          dw = com.microsoft.DequantizeLinear<axis = 0>(w, sw)
          y = MatMul(d, dw)
        }""",
        21,
        com_microsoft=1,
    )
    element = onnx.TensorProto.DataType.Value(kind.upper())
    model.graph.initializer.append(onnx.helper.make_tensor("z", element, [], [3]))
    model.graph.initializer.append(
        onnx.helper.make_tensor("w", onnx.TensorProto.INT4, [2, 2], [-8, 7, 1, 3])
    )
    module, context = imported(model)
    assert context.notes.brought
    assert not any(op.domain for op in module.main.of(Onnx))


def dynamic(layer: str, w: str, scale: str) -> onnx.ModelProto:
    """What onnxruntime's `quantize_dynamic` makes of a layer, and a float layer behind it."""
    return model_of(
        f"""
        g (float[N, 2, 4, 4] x) => (float[N, 2, 4, 3] y) <{w}, float[4, 3] v = {{
          1, -2, 3, 4, -5, 6, 7, 8, -9, 0, 1, 2}}> {{
          q, s, z = DynamicQuantizeLinear(x)
          [own] r = {layer}
          c = Cast<to = 1>(r)
          k = {scale}
          h = Mul(k, c)
          y = MatMul(h, v)
        }}""",
        17,
    )


@pytest.mark.parametrize(
    "model",
    [
        dynamic(
            "ConvInteger(q, w, z)",
            "int8[2, 2, 1, 1] w = {5, -2, 3, 4}, float[1] t = {0.25}",
            "Mul(s, t)",
        ),
        dynamic(
            "MatMulInteger(q, w, z, zw)",
            "int8[4, 4] w = {1, -2, 3, 4, -5, 6, 7, 8, -9, 0, 1, 2, 3, 4, 5, 6}, int8 zw = {1},"
            " float[4] t = {0.25, 1, 2, 0.5}",
            "Mul(t, s)",
        ),
        dynamic("ConvInteger(q, w, z)", "int8[2, 2, 1, 1] w = {1, -2, 3, 4}", "Identity(s)"),
    ],
    ids=["Conv", "MatMul", "Conv, weights of scale 1"],
)
def test_dynamic_quantization_is_calibrated(model: onnx.ModelProto) -> None:
    module = import_model(model)
    context = Context()
    Pipeline.parse("import-quantized").execute(module, context)
    assert "own" in context.notes.brought
    x = RNG.normal(size=(100, 2, 4, 4)).astype(np.float32)
    own = np.concatenate([run(model, {"x": one[None]})[0] for one in x])
    compiled = lutra.compile(model, x, "qat{rounding=8}")
    found = np.asarray(compiled.predict(x))
    assert np.abs(found - own).mean() < 0.02 * np.abs(own).mean()


# --- behind the last layer ------------------------------------------------------------------------
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_what_the_client_quantizes(rounding: str) -> None:
    text = f"""
%x = input : float32[1x2]
%0 = quantize %x, scale=[[0.5, 0.25]], zero_point=[[0, -2]], lo=-4, hi=3, rounding="{rounding}"
%1 = dequantize %0, scale=[[1.0, 0.25]], zero_point=-1, offset=0.5
%2 = dequantize %0, scale=2.0, zero_point=0, offset=0.0
return %1, %2
"""
    module, floats = parse_module(text), parse_module(text)
    Pipeline.parse("import-quantized").execute(floats)
    assert not list(floats.main.of(Quantize))
    x = np.arange(-32, 32, dtype=np.float32).reshape(-1, 1, 2) / 8
    for new, old in zip(evaluate(floats.main, [x]), evaluate(module.main, [x]), strict=True):
        np.testing.assert_array_equal(new, old)


# --- weights --------------------------------------------------------------------------------------
def weights(offset: float) -> str:
    return f"""
%x = input : float32[1x2]
%q = quantize %x, scale=0.5, zero_point=0, lo=0, hi=3
%d = dequantize %q, scale=0.5, zero_point=0, offset=0.0
%w = int_constant value=[[0, 1], [1, 1]]
%0 = dequantize %w, scale=0.5, zero_point=0, offset={offset}
%1 = onnx.MatMul %d, %0 : float32[1x2]
return %1
"""


def test_weights_with_an_offset_of_half_a_step_are_odd_integers() -> None:
    module = parse_module(weights(-0.25))
    before = module.clone()
    Pipeline.parse("lower-quantized").execute(module)
    (layer,) = module.main.of(MatMul)
    assert layer.w.tolist() == [[-1, 1], [1, 1]]
    x: Array = np.array([[[0.5, 1.5]], [[9.0, 1.0]]], np.float32)
    np.testing.assert_array_equal(evaluate(module.main, [x]), evaluate(before.main, [x]))


def test_weights_with_any_other_offset_are_no_integers() -> None:
    module = parse_module(weights(-0.2))
    Pipeline.parse("lower-quantized").execute(module)
    assert not list(module.main.of(MatMul))
