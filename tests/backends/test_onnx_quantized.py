"""Exported models: onnxruntime, or Quant's reference meaning, computes the circuit's integers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

import lutra
from lutra.backends.onnx import FORMS, quantized_model
from lutra.cli import app
from lutra.ir.errors import BackendError, InputError, PipelineError
from lutra.ir.interpreter import evaluate
from lutra.ir.ops import Conv, Lookup, MatMul
from lutra.ir.parser import parse_module
from lutra.ir.rounding import ROUNDINGS
from lutra.ir.types import Array
from onnx_models import model_of, op_types
from quantized_models import Quantized, own_results
from quantized_nets import NETS
from small_models import mlp, points, tensor

QUANTIZERS = {"qdq": "QuantizeLinear", "qonnx": "Quant"}


def parts(model: lutra.Model) -> list[Array]:
    found = (op for op in model.module.circuit.ops if isinstance(op, MatMul | Conv | Lookup))
    return [op.table if isinstance(op, Lookup) else op.w for op in found]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("build", NETS, ids=lambda build: build.__name__)
def test_models_that_bring_their_integers_keep_them(
    build: Callable[[Quantized], str], form: str
) -> None:
    net = Quantized(NETS[build], seed=3)
    model, x = net.model(build(net)), net.samples()
    exported = lutra.quantize(model, pipeline="qat", form=form)
    np.testing.assert_allclose(own_results(exported, x), own_results(model, x), atol=1e-5)
    first, second = (lutra.compile(m, pipeline="qat") for m in (model, exported))
    np.testing.assert_array_equal(np.asarray(second.predict(x)), np.asarray(first.predict(x)))
    assert QUANTIZERS[form] in op_types(exported)


def cnn(residual: bool) -> onnx.ModelProto:
    """Padding, two branches that are added or put together, both kinds of pooling, a softmax."""
    rng = np.random.default_rng(0)
    w = {f"w{i}": rng.normal(size=s) / 2 for i, s in enumerate([(3, 2, 3, 3), (3, 2, 1, 1)])}
    features = 12 if residual else 24
    w["v"] = rng.normal(size=(features, 3)) / 3
    listed = [tensor(name, array.astype(np.float32)) for name, array in w.items()]
    constants = ", ".join([*listed, f"int64[2] flat = {{-1, {features}}}"])
    join = "s = Add(p, q)" if residual else "s = Concat<axis = 1>(p, q)"
    return model_of(f"""
        g (float[N, 2, 5, 5] x) => (float[N, 3] y) <{constants}> {{
          a = Conv<pads = [1, 1, 1, 1]>(x, w0)
          p = Relu(a)
          b = Conv(x, w1)
          q = Tanh(b)
          {join}
          m = MaxPool<kernel_shape = [2, 2]>(s)
          n = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(m)
          r = Reshape(n, flat)
          l = MatMul(r, v)
          y = Softmax<axis = 1>(l)
        }}""")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("pipeline", ["narrow", "wide{rounding=5}", "narrow{margin=none}"])
@pytest.mark.parametrize("residual", [True, False])
def test_float_models_become_what_is_compiled(residual: bool, pipeline: str, form: str) -> None:
    model = cnn(residual)
    x = np.random.default_rng(1).normal(size=(60, 2, 5, 5)).astype(np.float32)
    exported = lutra.quantize(model, x, pipeline, form=form)
    compiled = lutra.compile(model, x, pipeline)
    np.testing.assert_allclose(own_results(exported, x), np.asarray(compiled.predict(x)), atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_a_round_trip(form: str) -> None:
    model, x = mlp(), points()
    exported = lutra.quantize(model, x, "narrow{margin=none}", form=form)
    first = lutra.compile(model, x, "narrow{margin=none}")
    second = lutra.compile(exported, pipeline="qat")
    if form == "qdq":  # Quant's ranges may be wider, behind a Clip
        for mine, own in zip(parts(second), parts(first), strict=True):
            np.testing.assert_array_equal(mine, own)
    np.testing.assert_array_equal(np.asarray(second.predict(x)), np.asarray(first.predict(x)))
    assert exported.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "samples"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize(
    ("scale", "zero", "lo", "hi"),
    [
        ("0.25", "0", -4, 3),
        ("0.5", "3", 0, 15),
        ("0.5", "-2", -7, 7),
        ("0.25", "1", -3, 2),
        ("[[0.5, 0.25]]", "[[1, -2]]", -300, 200),
        ("[[[0.5], [0.25]]]", "[[[1, 0], [0, 2]]]", -8, 7),
    ],
)
def test_every_grid(scale: str, zero: str, lo: int, hi: int, rounding: str, form: str) -> None:
    """x is often in the middle between two steps, and sometimes beyond the ends."""
    shape = "1x2x2" if "], [" in scale else "1x2"
    module = parse_module(f"""
        %x = input : float32[{shape}]
        %0 = quantize %x, scale={scale}, zero_point={zero}, lo={lo}, hi={hi}, rounding="{rounding}"
        %1 = dequantize %0, scale={scale}, zero_point={zero}, offset=0.0
        return %1, names=["y"]
    """)
    steps = [*range(-80, 80), *range(-1600, 1600, 100)]
    x = np.array(steps, np.float32).reshape(-1, *map(int, shape.split("x"))) / 16
    expected = evaluate(module.main, [x])[0]
    found = own_results(quantized_model(module.main, form), x[:, 0])
    np.testing.assert_array_equal(found.reshape(expected.shape), expected)


def test_more_bits_than_types_have() -> None:
    module = parse_module("""
        %x = input : float32[1x2]
        %0 = quantize %x, scale=0.5, zero_point=0, lo=0, hi=70000
        %1 = dequantize %0, scale=0.5, zero_point=0, offset=0.0
        return %1, names=["y"]
    """)
    with pytest.raises(BackendError, match=r"B002.*70000"):
        quantized_model(module.main, "qdq")


def test_arguments_that_do_not_fit() -> None:
    with pytest.raises(InputError, match=r"I005.*form='qdg'(?s:.*)qdq"):
        lutra.quantize(mlp(), points(), form="qdg")  # type: ignore[arg-type]
    with pytest.raises(PipelineError, match=r"P009.*does not quantize"):
        lutra.quantize(mlp(), points(), "clean")


def test_the_command(tmp_path: Path) -> None:
    onnx.save(mlp(), tmp_path / "mlp.onnx")
    np.savez(tmp_path / "data.npz", x=points())
    source, data, target = (str(tmp_path / n) for n in ("mlp.onnx", "data.npz:x", "q.onnx"))
    options = ["-c", data, "-p", "narrow", "--form", "qonnx", "-o", target]
    result = CliRunner().invoke(app, ["quantize", source, *options])
    assert result.exit_code == 0, result.output
    assert "written" in result.output
    assert "Quant" in op_types(onnx.load(target))
