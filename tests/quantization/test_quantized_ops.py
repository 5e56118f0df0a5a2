"""Modules put together by hand, and operators of one's own."""

import numpy as np
import pytest

from lutra import quantization
from lutra.ir.errors import InputError
from lutra.ir.types import Array
from lutra.quantization import (
    QuantizedArray,
    QuantizedAvgPool,
    QuantizedConv,
    QuantizedGreater,
    QuantizedLess,
    QuantizedLinear,
    QuantizedMaxPool,
    QuantizedModule,
    QuantizedOp,
    QuantizedOr,
    QuantizedRelu,
    QuantizedReLU6,
    QuantizedReshape,
    QuantizedSigmoid,
    QuantizedWhere,
)
from small_models import points


class QuantizedMish(QuantizedOp):
    """An activation without a class of its own."""

    _impl_for_op_named = "Mish"


def built(activation: QuantizedOp, bits: int = 7) -> tuple[QuantizedModule, Array, Array]:
    """2 - 4 - 3 with a sigmoid at the end; typical inputs, and the float results."""
    rng = np.random.default_rng(0)
    x = points(200)
    weights = [rng.normal(size=shape) for shape in ((2, 4), (4, 3))]
    quantized = [QuantizedArray(bits, w, is_signed=True, is_symmetric=True) for w in weights]
    fc1 = QuantizedLinear(bits, quantized[0], rng.normal(size=4))
    fc2 = QuantizedLinear(bits, quantized[1], QuantizedArray(bits, rng.normal(size=3)))
    sigmoid = QuantizedSigmoid(bits)
    y = sigmoid.calibrate(fc2.calibrate(activation.calibrate(fc1.calibrate(x))))
    module = QuantizedModule(
        ["x"],
        ["y"],
        {
            "a1": (("x",), fc1),
            "h1": (("a1",), activation),
            "a2": (("h1",), fc2),
            "y": (("a2",), sigmoid),
        },
    )
    module.set_inputs_quantization_parameters(QuantizedArray(bits, x).quantizer)
    return module, x, y


@pytest.mark.parametrize("activation", [QuantizedReLU6(7), QuantizedMish(7), QuantizedSigmoid(7)])
def test_a_module_by_hand(activation: QuantizedOp) -> None:
    module, x, y = built(activation)
    assert module.ordered_module_input_names == ("x",)
    assert module.ordered_module_output_names == ("y",)
    found = module.forward(x)
    assert found.shape == y.shape == (200, 3)
    assert np.abs(found - y).max() < 0.05
    assert module.model.pbs_count == 4
    assert set(module.bitwidth_and_range_report()) == {"a1", "a2"}
    (quantizer,) = module.input_quantizers
    np.testing.assert_array_equal(quantizer.quant(x), module.quantize_input(x))


def test_integers_of_weights_are_kept() -> None:
    weights = QuantizedArray(3, np.array([[1.0], [-0.4]]), is_signed=True, is_symmetric=True)
    fc, x = QuantizedLinear(3, weights), points(50)
    fc.calibrate(x)
    module = QuantizedModule(["x"], ["y"], {"y": (("x",), fc)})
    module.set_inputs_quantization_parameters(QuantizedArray(4, x).quantizer)
    q = module.quantize_input(x)
    zero = module.input_quantizers[0].zero_point
    expected = (q - zero) @ weights.qvalues * module.input_quantizers[0].scale * weights.scale
    np.testing.assert_allclose(module.forward(x), expected, atol=1e-5)


@pytest.mark.encrypted
def test_a_module_by_hand_under_encryption() -> None:
    module, x, _ = built(QuantizedReLU6(2), bits=2)
    module.compile(x)
    np.testing.assert_array_equal(module.forward(x[:1], fhe="execute"), module.forward(x[:1]))


def test_modules_that_are_not_finished() -> None:
    fc = QuantizedLinear(3, QuantizedArray(3, np.ones((2, 1)), is_signed=True))
    module = QuantizedModule(["x"], ["y"], {"y": (("x",), fc)})
    assert module.ordered_module_input_names == ("x",)
    grid = QuantizedArray(3, points()).quantizer
    with pytest.raises(InputError, match="set_inputs_quantization_parameters"):
        module.forward(points())
    with pytest.raises(InputError, match="not calibrated"):
        module.set_inputs_quantization_parameters(grid)
    with pytest.raises(InputError, match="0 quantizers"):
        module.set_inputs_quantization_parameters()
    fc.calibrate(points())
    with pytest.raises(InputError, match="reads 'z'"):
        QuantizedModule(["x"], ["y"], {"y": (("z",), fc)}).set_inputs_quantization_parameters(grid)
    with pytest.raises(InputError, match="outputs"):
        QuantizedModule(["x"], ["z"], {"y": (("x",), fc)}).set_inputs_quantization_parameters(grid)


def test_operators_that_are_none() -> None:
    with pytest.raises(InputError, match="did you mean 'Mish'"):
        type("QuantizedMisch", (QuantizedOp,), {"_impl_for_op_named": "Misch"})
    with pytest.raises(InputError, match="in Python"):
        type("Own", (QuantizedOp,), {"_impl_for_op_named": "Xyzzy"})
    with pytest.raises(InputError, match="stands for no operator"):
        QuantizedOp(3).calibrate(points())


# --- each class -----------------------------------------------------------------------------------
RNG = np.random.default_rng(3)
NORM = {
    1: RNG.uniform(0.5, 2, 4), 2: RNG.normal(size=4), 3: RNG.normal(size=4), 4: np.ones(4)
}  # fmt: skip
UNARY = [
    ("Abs", {}), ("Celu", {}), ("Elu", {}), ("Erf", {}), ("Exp", {}), ("HardSigmoid", {}),
    ("HardSwish", {}), ("Identity", {}), ("LeakyRelu", {}), ("ReLU6", {}), ("Relu", {}),
    ("Selu", {}), ("Sigmoid", {}), ("Softplus", {}), ("Tanh", {}), ("Clip", {1: -1.0, 2: 0.5}),
    ("PRelu", {1: 0.2}), ("Div", {1: 2.5}), ("Pow", {1: 2.0}), ("Mul", {1: 2.0}), ("Sub", {0: 2.0}),
    ("Where", {0: [True, False, True, False], 2: 0.3}), ("BatchNormalization", NORM),
    ("BrevitasQuant", {1: 0.1, 2: 0.0, 3: 7.0}), ("Reshape", {1: [-1, 4]}),
    ("Pad", {1: [0, 1, 0, 1]}),
]  # fmt: skip
STEPS = [("Round", {}), ("Greater", {1: 0.1}), ("GreaterOrEqual", {1: 0.1}), ("Less", {1: 0.1}),
         ("LessOrEqual", {1: 0.1})]  # fmt: skip


def named(name: str, bits: int, constants: dict[int, object]) -> QuantizedOp:
    found: QuantizedOp = getattr(quantization, f"Quantized{name}")(bits, constant_inputs=constants)
    return found


def linear(inputs: int, outputs: int, bits: int = 7) -> QuantizedLinear:
    rng = np.random.default_rng(inputs)
    weights = QuantizedArray(bits, rng.normal(size=(inputs, outputs)), is_signed=True)
    return QuantizedLinear(bits, weights, rng.normal(size=outputs))


def finished(x: Array, outputs: str, layers: dict[str, object]) -> QuantizedModule:
    module = QuantizedModule(["x"], [outputs], layers)  # type: ignore[arg-type]
    module.set_inputs_quantization_parameters(QuantizedArray(7, x).quantizer)
    return module


def between(op: QuantizedOp) -> tuple[Array, Array]:
    """3 - 4 - op - 2, quantized and in floats."""
    x = points(200, 3)
    fc1 = linear(3, 4)
    h = op.calibrate(fc1.calibrate(x))
    fc2 = linear(h.shape[1], 2)
    y = fc2.calibrate(h)
    layers = {"a": (("x",), fc1), "h": (("a",), op), "y": (("h",), fc2)}
    return finished(x, "y", layers)(x), y


@pytest.mark.parametrize(
    ("name", "constants"), UNARY, ids=lambda v: v if isinstance(v, str) else ""
)
def test_layers_between_two_others(name: str, constants: dict[int, object]) -> None:
    found, y = between(named(name, 7, constants))
    assert np.abs(found - y).max() < 0.04 * np.abs(y).max()


@pytest.mark.parametrize(
    ("name", "constants"), STEPS, ids=lambda v: v if isinstance(v, str) else ""
)
def test_layers_that_are_steps(name: str, constants: dict[int, object]) -> None:
    """Few values lie so near a step that they come to its other side."""
    found, y = between(named(name, 7, constants))
    assert np.mean(np.abs(found - y).max(1) > 0.04 * np.abs(y).max()) < 0.15


@pytest.mark.parametrize("name", ["Add", "Sub", "Mul"])
def test_layers_of_two_encrypted_values(name: str) -> None:
    x, op = points(200, 3), named(name, 7, {})
    fc1, fc2, fc3 = linear(3, 4), linear(3, 4), linear(4, 2)
    y = fc3.calibrate(op.calibrate(fc1.calibrate(x), fc2.calibrate(x)))
    layers = {"a": (("x",), fc1), "b": (("x",), fc2), "h": (("a", "b"), op), "y": (("h",), fc3)}
    assert np.abs(finished(x, "y", layers)(x) - y).max() < 0.04 * np.abs(y).max()


def test_layers_of_truth_values() -> None:
    x = points(200, 3)
    fc1, fc2, fc3 = linear(3, 4), linear(3, 4), linear(4, 2)
    above, below = (cls(1, constant_inputs={1: 0.2}) for cls in (QuantizedGreater, QuantizedLess))
    either, where = QuantizedOr(1), QuantizedWhere(7)
    a, b = fc1.calibrate(x), fc2.calibrate(x)
    p = either.calibrate(above.calibrate(a), below.calibrate(b))
    y = fc3.calibrate(where.calibrate(p, a, b))
    layers = {
        "a": (("x",), fc1), "b": (("x",), fc2), "p": (("a",), above), "q": (("b",), below),
        "r": (("p", "q"), either), "h": (("r", "a", "b"), where), "y": (("h",), fc3),
    }  # fmt: skip
    far = np.abs(finished(x, "y", layers)(x) - y).max(1) > 0.06 * np.abs(y).max()
    assert far.mean() < 0.1


@pytest.mark.parametrize("cls", [QuantizedAvgPool, QuantizedMaxPool])
def test_layers_of_images(cls: type[QuantizedOp]) -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (100, 1, 6, 6)).astype(np.float32)
    weights = QuantizedArray(7, RNG.normal(size=(2, 1, 3, 3)), is_signed=True, is_symmetric=True)
    conv, pool = QuantizedConv(7, constant_inputs={1: weights}), cls(7, kernel_shape=[2, 2])
    relu, flat = QuantizedRelu(7), QuantizedReshape(7, constant_inputs={1: [-1, 18]})
    fc = linear(18, 2)
    y = fc.calibrate(flat.calibrate(pool.calibrate(relu.calibrate(conv.calibrate(x)))))
    layers = {
        "a": (("x",), conv), "r": (("a",), relu), "p": (("r",), pool), "f": (("p",), flat),
        "y": (("f",), fc),
    }  # fmt: skip
    assert np.abs(finished(x, "y", layers)(x) - y).max() < 0.04 * np.abs(y).max()


def test_sums_of_elements() -> None:
    op = quantization.QuantizedReduceSum(7, constant_inputs={1: [1]}, keepdims=1)
    found, y = between(op)
    assert np.abs(found - y).max() < 0.04 * np.abs(y).max()


def test_layers_on_quantized_arrays() -> None:
    x = points(100, 3)
    fc = linear(3, 4)
    y = fc.calibrate(x)
    q_y = fc(QuantizedArray(7, x))
    assert isinstance(q_y, QuantizedArray)
    assert np.abs(q_y.dequant() - y).max() < 0.05 * np.abs(y).max()
    assert not fc.can_fuse()
    assert QuantizedSigmoid(3).can_fuse()
