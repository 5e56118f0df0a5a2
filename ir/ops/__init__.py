"""The operations of all three levels, one class each."""

from lutra.ir.ops.linear import Add, AddClear, Conv, Halve, MatMul, MulClear, Neg, Sub, Sum
from lutra.ir.ops.movement import (
    Broadcast,
    Concat,
    Gather,
    Movement,
    Pad,
    Reshape,
    Slice,
    Transpose,
)
from lutra.ir.ops.onnx import Constant, Onnx, constant_of, scalar_of
from lutra.ir.ops.products import MatMulValues
from lutra.ir.ops.quantized import Dequantize, IntConstant, Observe, Quantize
from lutra.ir.ops.tables import Assume, Lookup, Max, Mul, Round

__all__ = [
    "Add",
    "AddClear",
    "Assume",
    "Broadcast",
    "Concat",
    "Constant",
    "Conv",
    "Dequantize",
    "Gather",
    "Halve",
    "IntConstant",
    "Lookup",
    "MatMul",
    "MatMulValues",
    "Max",
    "Movement",
    "Mul",
    "MulClear",
    "Neg",
    "Observe",
    "Onnx",
    "Pad",
    "Quantize",
    "Reshape",
    "Round",
    "Slice",
    "Sub",
    "Sum",
    "Transpose",
    "constant_of",
    "scalar_of",
]
