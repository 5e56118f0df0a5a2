"""Operators of one's own, written in Python."""

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from lutra.ir.errors import InputError
from lutra.ir.types import Array
from lutra.onnx import compile_onnx_model
from lutra.quantization import (
    NumpyModule,
    QuantizedArray,
    QuantizedLinear,
    QuantizedModule,
    QuantizedOp,
)
from small_models import points


class QuantizedClippedSquare(QuantizedOp):
    """Of what values are."""

    _impl_for_op_named = "ClippedSquare"

    def q_impl(self, *q_inputs: Any, **attrs: Any) -> Any:
        (q_x,) = q_inputs
        return self.prepare_output(np.minimum(q_x.dequant() ** 2, attrs.get("top", 2.0)))


class QuantizedHalves(QuantizedOp):
    """Of integers, each by itself; of a scale of its own."""

    _impl_for_op_named = "Halves"

    def q_impl(self, *q_inputs: Any, **attrs: Any) -> Any:
        (q_x,) = q_inputs
        halves = (q_x.qvalues // 2).astype(np.int64)
        return QuantizedArray(
            self.n_bits, halves, value_is_float=False, scale=2 * q_x.scale, zero_point=0
        )


class QuantizedMix(QuantizedOp):
    """Of integers, moved and added up."""

    _impl_for_op_named = "Mix"

    def q_impl(self, *q_inputs: Any, **attrs: Any) -> Any:
        (q_x,) = q_inputs
        q = q_x.qvalues - q_x.zero_point
        differences = q[:, 1:] - q[:, :-1]
        sums = np.concatenate([differences, q.sum(1, keepdims=True)], axis=1)
        weights = np.array([[1, 0], [-2, 1], [0, 3], [1, 1]])
        return self.prepare_output(q_x.scale * (sums @ weights))


class QuantizedGate(QuantizedOp):
    """Of two encrypted values."""

    _impl_for_op_named = "Gate"

    def q_impl(self, *q_inputs: Any, **attrs: Any) -> Any:
        x, y = (q.dequant() for q in q_inputs)
        return self.prepare_output(np.where(y > 0.0, x, 0.25 * x))


def linear(inputs: int, outputs: int, bits: int = 7) -> QuantizedLinear:
    rng = np.random.default_rng(inputs + outputs)
    weights = rng.normal(size=(inputs, outputs))
    q_weights = QuantizedArray(bits, weights, is_signed=True, is_symmetric=True)
    return QuantizedLinear(bits, q_weights, rng.normal(size=outputs))


def built(op: QuantizedOp, width: int, bits: int = 7) -> tuple[QuantizedModule, Array, Array]:
    """3 - 4 - op - 2; typical inputs, and the float results."""
    x = points(200, 3)
    fc1, fc2 = linear(3, 4, bits), linear(width, 2, bits)
    y = fc2.calibrate(op.calibrate(fc1.calibrate(x)))
    layers = {"a": (("x",), fc1), "h": (("a",), op), "y": (("h",), fc2)}
    module = QuantizedModule(["x"], ["y"], layers)
    module.set_inputs_quantization_parameters(QuantizedArray(bits, x).quantizer)
    return module, x, y


@pytest.mark.parametrize(
    ("op", "width"), [(QuantizedClippedSquare(7), 4), (QuantizedMix(7), 2), (QuantizedHalves(6), 4)]
)
def test_modules_with_operators_in_python(op: QuantizedOp, width: int) -> None:
    module, x, y = built(op, width)
    assert np.abs(module(x) - y).max() < 0.06 * np.abs(y).max()
    assert np.corrcoef(module(x).reshape(-1), y.reshape(-1))[0, 1] > 0.99


@pytest.mark.parametrize("op", [QuantizedMix(7), QuantizedHalves(6)])
def test_integers_are_those_of_the_python_code(op: QuantizedOp) -> None:
    """For every integer that can be read, up to the bits that 32-bit floats hold."""
    rng = np.random.default_rng(0)
    grid = QuantizedArray(6, np.array([-1.0, 2.0])).quantizer
    x = grid.dequant(rng.integers(0, 64, (500, 4))).astype(np.float32)
    x[:64] = grid.dequant(np.arange(64))[:, None]
    op.calibrate(x)
    identity = QuantizedArray(8, np.eye(4 if op.op_type() == "Halves" else 2), is_signed=True)
    fc = QuantizedLinear(8, identity)
    fc.calibrate(op.calibrate(x))
    module = QuantizedModule(["x"], ["y"], {"h": (("x",), op), "y": (("h",), fc)})
    module.set_inputs_quantization_parameters(grid)
    expected = op(QuantizedArray.under(grid, x)).dequant()
    found = module(x) / identity.dequant()[0, 0]
    off = np.abs(found - expected) > 1e-4 * np.abs(expected).max()
    assert not off.any()


def test_operators_of_two_encrypted_values() -> None:
    x, op = points(200, 3), QuantizedGate(7)
    fc1, fc2, fc3 = linear(3, 4), linear(3, 4), linear(4, 2)
    a, b = fc1.calibrate(x), fc2.calibrate(x)
    y = fc3.calibrate(op.calibrate(a, b))
    module = QuantizedModule(
        ["x"],
        ["y"],
        {"a": (("x",), fc1), "b": (("x",), fc2), "h": (("a", "b"), op), "y": (("h",), fc3)},
    )
    module.set_inputs_quantization_parameters(QuantizedArray(7, x).quantizer)
    assert np.mean(np.abs(module(x) - y).max(1) > 0.2) < 0.05  # those next to the gate's step


@pytest.mark.encrypted
def test_operators_in_python_under_encryption() -> None:
    module, x, _ = built(QuantizedClippedSquare(2), 4, bits=2)
    module.compile(x, p_error=1e-5)
    np.testing.assert_array_equal(module.forward(x[:1], fhe="execute"), module.forward(x[:1]))


def custom_model(op_type: str) -> ModelProto:
    """x[N, 3] - 4 - op - 2"""
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(3, 4)), "v": rng.normal(size=(4, 2))}
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["a"], "fc1"),
            helper.make_node(op_type, ["a"], ["h"], "own", domain="own", top=1.5),
            helper.make_node("MatMul", ["h", "v"], ["y"], "fc2"),
        ],
        "custom",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items()],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def test_nodes_of_operators_in_python() -> None:
    model, x = custom_model("ClippedSquare"), points(300, 3)
    w, v = (numpy_helper.to_array(t) for t in model.graph.initializer)
    expected = np.minimum((x @ w) ** 2, 1.5) @ v
    np.testing.assert_allclose(NumpyModule(model)(x), expected, atol=1e-5)
    module = compile_onnx_model(model, x, n_bits=6, rounding_threshold_bits=6)
    assert np.corrcoef(module(x).reshape(-1), expected.reshape(-1))[0, 1] > 0.99


def test_nodes_whose_integers_are_not_known_yet() -> None:
    with pytest.raises(InputError, match="`qvalues` of values that are not quantized"):
        NumpyModule(custom_model("Halves"))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (lambda q: np.linalg.norm(q.dequant(), axis=1), "numpy.norm"),
        (lambda q: np.logaddexp(q.dequant(), 0.0), "numpy.logaddexp"),
        (lambda q: q.dequant() if q.dequant().sum(1) > 0 else -q.dequant(), "whether it is true"),
        (lambda q: np.asarray(q.dequant()) + 1, "an array"),
        (lambda q: q.dequant().sum(0), "several samples"),
    ],
)
def test_what_has_no_meaning_for_encrypted_values(body: Any, message: str) -> None:
    class Own(QuantizedOp):
        _impl_for_op_named = "Own"

        def q_impl(self, *q_inputs: Any, **attrs: Any) -> Any:
            if self.traced:
                return self.prepare_output(body(*q_inputs))
            return self.prepare_output(q_inputs[0].dequant())

        traced = False

    op, x = Own(4), points(50)
    op.calibrate(x)
    op.traced = True
    module = QuantizedModule(["x"], ["h"], {"h": (("x",), op)})
    with pytest.raises(InputError, match=message):
        module.set_inputs_quantization_parameters(QuantizedArray(4, x).quantizer)


def test_results_that_are_constants() -> None:
    class Constant(QuantizedOp):
        _impl_for_op_named = "OwnConstant"

        def q_impl(self, *q_inputs: Any, **attrs: Any) -> Any:
            return self.prepare_output(np.array([1.0, 2.0]))

    op, x = Constant(4), points(50)
    op.calibrate(x)
    module = QuantizedModule(["x"], ["h"], {"h": (("x",), op)})
    with pytest.raises(InputError, match="depend on its inputs"):
        module.set_inputs_quantization_parameters(QuantizedArray(4, x).quantizer)
