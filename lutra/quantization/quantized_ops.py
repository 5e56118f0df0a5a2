"""Layers from which a `QuantizedModule` is put together by hand: ONNX's operators, each by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from lutra.quantization.base_quantized_op import QuantizedOp
from lutra.quantization.quantizers import QuantizedArray


class QuantizedGemm(QuantizedOp):
    """x @ b + c: `constant_inputs={1: b, 2: c}`."""

    _impl_for_op_named = "Gemm"


class QuantizedLinear(QuantizedGemm):
    """x @ weights + bias.

    q_weights: quantized weights (inputs, outputs), best signed and symmetric.
    q_bias: quantized or float bias (outputs,).
    """

    def __init__(self, n_bits: int, q_weights: QuantizedArray, q_bias: Any = None) -> None:
        bias = q_bias.dequant() if isinstance(q_bias, QuantizedArray) else q_bias
        super().__init__(
            n_bits, constant_inputs={1: q_weights} | ({} if bias is None else {2: bias})
        )


class QuantizedMatMul(QuantizedOp):
    _impl_for_op_named = "MatMul"


class QuantizedConv(QuantizedOp):
    _impl_for_op_named = "Conv"


class QuantizedAvgPool(QuantizedOp):
    _impl_for_op_named = "AveragePool"


class QuantizedMaxPool(QuantizedOp):
    _impl_for_op_named = "MaxPool"


class QuantizedBatchNormalization(QuantizedOp):
    """`constant_inputs={1: scale, 2: bias, 3: mean, 4: variance}`."""

    _impl_for_op_named = "BatchNormalization"


class QuantizedBrevitasQuant(QuantizedOp):
    """Quantizes: `constant_inputs={1: scale, 2: zero point, 3: bits}`."""

    _impl_for_op_named = "onnx.brevitas.Quant"
    _default_attrs: ClassVar[Mapping[str, Any]] = {
        "signed": 1, "narrow": 0, "rounding_mode": "ROUND"
    }  # fmt: skip


# --- of two encrypted operands, or of one and a constant ------------------------------------------
class QuantizedAdd(QuantizedOp):
    _impl_for_op_named = "Add"


class QuantizedSub(QuantizedOp):
    _impl_for_op_named = "Sub"


class QuantizedMul(QuantizedOp):
    _impl_for_op_named = "Mul"


class QuantizedDiv(QuantizedOp):
    """By a constant: `constant_inputs={1: divisor}`."""

    _impl_for_op_named = "Div"


class QuantizedPow(QuantizedOp):
    """`constant_inputs={1: exponent}`."""

    _impl_for_op_named = "Pow"


class QuantizedGreater(QuantizedOp):
    _impl_for_op_named = "Greater"


class QuantizedGreaterOrEqual(QuantizedOp):
    _impl_for_op_named = "GreaterOrEqual"


class QuantizedLess(QuantizedOp):
    _impl_for_op_named = "Less"


class QuantizedLessOrEqual(QuantizedOp):
    _impl_for_op_named = "LessOrEqual"


class QuantizedOr(QuantizedOp):
    _impl_for_op_named = "Or"


class QuantizedWhere(QuantizedOp):
    _impl_for_op_named = "Where"


# --- moving and adding up elements ----------------------------------------------------------------
class QuantizedPad(QuantizedOp):
    """`constant_inputs={1: pads}`, with the samples' axis."""

    _impl_for_op_named = "Pad"


class QuantizedReshape(QuantizedOp):
    """`constant_inputs={1: shape}`, with the samples' axis."""

    _impl_for_op_named = "Reshape"


class QuantizedReduceSum(QuantizedOp):
    """`constant_inputs={1: axes}`, with the samples' axis."""

    _impl_for_op_named = "ReduceSum"


# --- functions of each element --------------------------------------------------------------------
class QuantizedRelu(QuantizedOp):
    _impl_for_op_named = "Relu"


class QuantizedClip(QuantizedOp):
    """`constant_inputs={1: least, 2: greatest}`."""

    _impl_for_op_named = "Clip"


class QuantizedReLU6(QuantizedClip):
    _default_constants: ClassVar[Mapping[int, Any]] = {1: 0.0, 2: 6.0}


class QuantizedPRelu(QuantizedOp):
    """`constant_inputs={1: slope}`."""

    _impl_for_op_named = "PRelu"


class QuantizedSigmoid(QuantizedOp):
    _impl_for_op_named = "Sigmoid"


class QuantizedTanh(QuantizedOp):
    _impl_for_op_named = "Tanh"


class QuantizedAbs(QuantizedOp):
    _impl_for_op_named = "Abs"


class QuantizedCelu(QuantizedOp):
    _impl_for_op_named = "Celu"


class QuantizedElu(QuantizedOp):
    _impl_for_op_named = "Elu"


class QuantizedErf(QuantizedOp):
    _impl_for_op_named = "Erf"


class QuantizedExp(QuantizedOp):
    _impl_for_op_named = "Exp"


class QuantizedHardSigmoid(QuantizedOp):
    _impl_for_op_named = "HardSigmoid"


class QuantizedHardSwish(QuantizedOp):
    _impl_for_op_named = "HardSwish"


class QuantizedIdentity(QuantizedOp):
    _impl_for_op_named = "Identity"


class QuantizedLeakyRelu(QuantizedOp):
    _impl_for_op_named = "LeakyRelu"


class QuantizedLog(QuantizedOp):
    _impl_for_op_named = "Log"


class QuantizedSelu(QuantizedOp):
    _impl_for_op_named = "Selu"


class QuantizedSoftplus(QuantizedOp):
    _impl_for_op_named = "Softplus"


class QuantizedRound(QuantizedOp):
    _impl_for_op_named = "Round"
