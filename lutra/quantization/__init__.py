"""Quantization under the names that users of Concrete ML know, by Lutra's own pipelines.

`docs/migration.md` has the names side by side, and what differs.
"""

from __future__ import annotations

from lutra.quantization.bits import Rounding, get_n_bits_dict
from lutra.quantization.circuit import CircuitGraph, FheCircuit
from lutra.quantization.notices import NoEffectWarning
from lutra.quantization.numpy_module import NumpyModule
from lutra.quantization.post_training import (
    ONNXConverter,
    PostTrainingAffineQuantization,
    PostTrainingQATImporter,
)
from lutra.quantization.quantized_module import FheMode, NotCompiledError, QuantizedModule
from lutra.quantization.quantized_ops import (
    QuantizedAbs,
    QuantizedAdd,
    QuantizedCelu,
    QuantizedClip,
    QuantizedConv,
    QuantizedElu,
    QuantizedErf,
    QuantizedExp,
    QuantizedGemm,
    QuantizedHardSigmoid,
    QuantizedHardSwish,
    QuantizedIdentity,
    QuantizedLeakyRelu,
    QuantizedLinear,
    QuantizedLog,
    QuantizedMatMul,
    QuantizedOp,
    QuantizedRelu,
    QuantizedReLU6,
    QuantizedSelu,
    QuantizedSigmoid,
    QuantizedSoftplus,
    QuantizedTanh,
)
from lutra.quantization.quantizers import QuantizedArray, UniformQuantizer

__all__ = [
    "CircuitGraph",
    "FheCircuit",
    "FheMode",
    "NoEffectWarning",
    "NotCompiledError",
    "NumpyModule",
    "ONNXConverter",
    "PostTrainingAffineQuantization",
    "PostTrainingQATImporter",
    "QuantizedAbs",
    "QuantizedAdd",
    "QuantizedArray",
    "QuantizedCelu",
    "QuantizedClip",
    "QuantizedConv",
    "QuantizedElu",
    "QuantizedErf",
    "QuantizedExp",
    "QuantizedGemm",
    "QuantizedHardSigmoid",
    "QuantizedHardSwish",
    "QuantizedIdentity",
    "QuantizedLeakyRelu",
    "QuantizedLinear",
    "QuantizedLog",
    "QuantizedMatMul",
    "QuantizedModule",
    "QuantizedOp",
    "QuantizedReLU6",
    "QuantizedRelu",
    "QuantizedSelu",
    "QuantizedSigmoid",
    "QuantizedSoftplus",
    "QuantizedTanh",
    "Rounding",
    "UniformQuantizer",
    "get_n_bits_dict",
]
