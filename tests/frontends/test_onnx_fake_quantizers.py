"""QONNX's fake quantizers against their specification, written down here once more in numpy."""

from __future__ import annotations

import decimal

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lutra.frontends.onnx import import_model
from lutra.ir.core import Graph
from lutra.ir.errors import ModelError
from lutra.ir.interpreter import evaluate
from lutra.ir.ops import Dequantize, Quantize
from lutra.ir.types import Array
from lutra.ir.verifier import verify
from onnx_models import model_of

DOMAINS = ("onnx.brevitas", "qonnx.custom_op.general", "finn.custom_op.general")
MODES = {
    **dict.fromkeys(("ROUND", "HALF_EVEN"), decimal.ROUND_HALF_EVEN),
    **dict.fromkeys(("ROUND_TO_ZERO", "DOWN"), decimal.ROUND_DOWN),
    "CEIL": decimal.ROUND_CEILING,
    "FLOOR": decimal.ROUND_FLOOR,
    "UP": decimal.ROUND_UP,
    "HALF_UP": decimal.ROUND_HALF_UP,
    "HALF_DOWN": decimal.ROUND_HALF_DOWN,
}
QUARTERS = np.arange(-40, 41, dtype=np.float32).reshape(1, -1) / 8
"""Values (1, 81), every second of them in the middle between two steps of a half."""


def tensor(name: str, array: Array | float) -> onnx.TensorProto:
    return onnx.numpy_helper.from_array(np.asarray(array, np.float32), name)


def graph_of(
    op_type: str,
    *parameters: Array | float,
    shape: tuple[int, ...] = QUARTERS.shape,
    domain: str = DOMAINS[0],
    kind: int = onnx.TensorProto.FLOAT,
    **attributes: int | str,
) -> Graph:
    """The IR of a model of one node, whose domain it does not import."""
    names = [f"p{i}" for i in range(len(parameters))]
    node = onnx.helper.make_node(op_type, ["x", *names], ["y"], "q", domain=domain, **attributes)
    infos = [onnx.helper.make_tensor_value_info(name, kind, shape) for name in "xy"]
    constants = [tensor(name, array) for name, array in zip(names, parameters, strict=True)]
    body = onnx.helper.make_graph([node], "g", infos[:1], infos[1:], constants)
    imports = [onnx.helper.make_opsetid("", 13)]
    module = import_model(onnx.helper.make_model(body, opset_imports=imports, ir_version=8))
    verify(module)
    return module.main


def result_of(graph: Graph, x: Array) -> Array:
    return evaluate(graph, [x[None]])[0][0]


def rounded(x: Array, mode: str) -> Array:
    integers = [
        float(decimal.Decimal(float(item)).to_integral_value(MODES[mode])) for item in x.flat
    ]
    return np.reshape(integers, x.shape)


def quant(
    x: Array, scale: Array, zero: Array, bits: float, signed: int, narrow: int, mode: str
) -> Array:
    """The specification of Quant and IntQuant, in float64."""
    least = -(2 ** (bits - 1)) + narrow if signed else 0
    most = 2 ** (bits - 1) - 1 if signed else 2**bits - 1 - narrow
    return (rounded(np.clip(x / scale + zero, least, most), mode) - zero) * scale


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("zero", [0.0, 2.0, -3.0, 0.5])
@pytest.mark.parametrize(("signed", "narrow"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_quant(mode: str, zero: float, signed: int, narrow: int) -> None:
    attributes = {"signed": signed, "narrow": narrow, "rounding_mode": mode}
    graph = graph_of("Quant", 0.5, zero, 3.0, **attributes)
    wanted = quant(QUARTERS, np.array(0.5), np.array(zero), 3, signed, narrow, mode)
    np.testing.assert_array_equal(result_of(graph, QUARTERS), wanted)


@given(
    hnp.arrays(np.float32, (2, 3, 4), elements=st.floats(-20, 20, width=32)),
    hnp.arrays(np.float32, (3, 1), elements=st.sampled_from([0.125, 0.5, 1.0, 4.0])),
    hnp.arrays(np.float32, (3, 1), elements=st.integers(-4, 4)),
    st.sampled_from([2.0, 3.0, 5.5, 8.0]),
)
def test_quant_by_channel(x: Array, scale: Array, zero: Array, bits: float) -> None:
    graph = graph_of("IntQuant", scale, zero, bits, shape=x.shape, signed=1, narrow=0)
    wanted = quant(x, scale, zero, bits, 1, 0, "ROUND")
    np.testing.assert_allclose(result_of(graph, x), wanted, atol=1e-5)


@pytest.mark.parametrize("domain", DOMAINS)
def test_domains_and_origins(domain: str) -> None:
    graph = graph_of("Quant", 0.5, 0.0, 4.0, domain=domain, signed=1, narrow=0)
    (quantize,), (dequantize,) = graph.of(Quantize), graph.of(Dequantize)
    assert quantize.loc == ("q",)
    assert dequantize.loc == ()  # whoever reads the integers did not compute them
    assert (quantize.lo, quantize.hi, quantize.rounding) == (-8, 7, "half_even")


@pytest.mark.parametrize("scale", [0.25, np.array([[0.5, 3.0]])])
def test_bipolar_quant(scale: Array | float) -> None:
    x = np.array([[-1e-30, 0.0], [7.0, -7.0]], np.float32)
    wanted = np.array([[-1.0, 1.0], [1.0, -1.0]]) * scale
    graph = graph_of("BipolarQuant", scale, shape=x.shape)
    np.testing.assert_array_equal(result_of(graph, x), wanted)


def test_one_signed_bit_is_bipolar() -> None:
    graph = graph_of("Quant", 0.5, 1.0, 1.0, signed=1, narrow=1)
    wanted = (np.where(QUARTERS / 0.5 + 1 >= 0, 1, -1) - 1) * 0.5
    np.testing.assert_array_equal(result_of(graph, QUARTERS), wanted)


@pytest.mark.parametrize("mode", ["FLOOR", "ROUND", "CEIL", "DOWN"])
def test_trunc(mode: str) -> None:
    x = np.arange(-16, 16, dtype=np.float32).reshape(1, -1) * 0.5
    first = graph_of("Trunc", 0.5, 0.0, 5.0, 3.0, shape=x.shape, rounding_mode=mode)
    steps = rounded(x / 0.5 / 4, mode)
    np.testing.assert_array_equal(result_of(first, x), steps * 0.5)
    second = graph_of(
        "Trunc", 0.5, 0.0, 5.0, 2.0, 3.0, shape=x.shape, rounding_mode=mode, signed=1, narrow=1
    )
    np.testing.assert_array_equal(result_of(second, x), np.clip(steps, -3, 3) * 2.0)


def test_other_floats() -> None:
    kind = onnx.TensorProto.DOUBLE
    graph = graph_of("Quant", 0.5, 0.0, 3.0, kind=kind, signed=1, narrow=0)
    found = result_of(graph, QUARTERS.astype(np.float64))
    assert found.dtype == np.float64
    wanted = quant(QUARTERS, np.array(0.5), np.array(0.0), 3, 1, 0, "ROUND")
    np.testing.assert_array_equal(found, wanted)


def test_what_cannot_be_imported_is_told_at_once() -> None:
    quantizers = {
        'Quant<signed=1, narrow=0, rounding_mode="UPWARDS">(x, one, zero, four)': (
            "no rounding mode 'UPWARDS'"
        ),
        "Quant<signed=1>(x, one, zero, four)": "it has no attribute `narrow`",
        "Quant<signed=1, narrow=0>(x, zero, zero, four)": "its scale is not positive",
        "Quant<signed=1, narrow=0>(x, one, zero, zero)": "its bit-width is 0, not within 1 to 32",
        "Quant<signed=1, narrow=0>(x, one, zero, widths)": "bit-width differs between elements",
        "Quant<signed=1, narrow=0>(x, one, zero)": "it has 2 parameters, not 3",
        "Quant<signed=1, narrow=0>(x, x, zero, four)": "its parameter 'x' is not constant",
        "FloatQuant(x, one, four, four)": "floats of few bits",
    }
    lines = [f"[q{i}] y{i} = onnx.brevitas.{text}" for i, text in enumerate(quantizers)]
    outputs = ", ".join(f"float[1, 2] y{i}" for i in range(len(lines)))
    model = model_of(
        f"g (float[1, 2] x) => ({outputs}) <float one = {{1}}, float zero = {{0}}, "
        f"float four = {{4}}, float[2] widths = {{4, 5}}> {{ {'  '.join(lines)} }}"
    )
    with pytest.raises(ModelError) as caught:
        import_model(model)
    assert caught.value.code == "F004"
    assert caught.value.nodes == tuple(f"q{i}" for i in range(len(lines)))
    for line, reason in zip(caught.value.lines, quantizers.values(), strict=True):
        assert reason in line


def test_parameters_of_the_wrong_shape() -> None:
    with pytest.raises(ModelError, match=r"shape \(3,\) does not fit a value of shape \(1, 81\)"):
        graph_of("Quant", np.ones(3), 0.0, 3.0, signed=1, narrow=0)
    graph_of("Quant", np.ones((1, 1, 1)), 0.0, 3.0, signed=1, narrow=0)
