"""Modules put together by hand, and operators of one's own."""

import numpy as np
import pytest

from lutra.ir.errors import InputError
from lutra.ir.types import Array
from lutra.quantization import (
    QuantizedArray,
    QuantizedLinear,
    QuantizedModule,
    QuantizedOp,
    QuantizedReLU6,
    QuantizedSigmoid,
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
    with pytest.raises(InputError, match="Python"):
        type("Own", (QuantizedOp,), {"_impl_for_op_named": "Mish", "q_impl": lambda self, x: x})
    with pytest.raises(InputError, match="stands for no operator"):
        QuantizedOp(3).calibrate(points())
