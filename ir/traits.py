"""What Lutra knows of each ONNX operator, in terms of computing on encrypted values.

This is the one table of operators; lowering, support checks and documentation derive from it.
Operators without an entry are opaque: they run in the clear, before or behind the circuit, or not
at all.
"""

from __future__ import annotations

from enum import Enum

from lutra.ir.ops.onnx import Onnx, constant_of


class Trait(Enum):
    """How an operator acts on encrypted operands."""

    ELEMENTWISE = "a function of each element (and of clear constants): part of a table look-up"
    LINEAR = "linear in its encrypted operand: integer arithmetic, no bootstrap"
    STRUCTURAL = "moves elements only"
    ORDER = "picks among elements by size, commutes with monotone functions"
    COMPOSED = "made of others: encrypted values go through these, clear ones through itself"
    OPAQUE = "runs in the clear only"


_ELEMENTWISE = """
    Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor
    Cast Ceil Celu Clip Cos Cosh Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid
    HardSwish IsInf IsNaN LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or PRelu
    Pow Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum Swish
    Tan Tanh ThresholdedRelu Where Xor
"""
_LINEAR = """
    AveragePool Conv ConvTranspose Einsum Gemm GlobalAveragePool MatMul ReduceMean ReduceSum
"""
_STRUCTURAL = """
    Concat DepthToSpace Expand Flatten Gather GatherElements GatherND Identity Pad Reshape
    Resize Slice SpaceToDepth Split Squeeze Tile Transpose Unsqueeze
"""
_ORDER = "GlobalMaxPool MaxPool ReduceMax ReduceMin"
_COMPOSED = """
    ArgMax ArgMin BatchNormalization Col2Im CumSum GlobalLpPool GroupNormalization Hardmax
    InstanceNormalization LayerNormalization LogSoftmax LpNormalization LpPool LRN
    MeanVarianceNormalization ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceProd
    ReduceSumSquare Softmax TopK
"""

TRAITS: dict[str, Trait] = {
    name: trait
    for names, trait in (
        (_ELEMENTWISE, Trait.ELEMENTWISE),
        (_LINEAR, Trait.LINEAR),
        (_STRUCTURAL, Trait.STRUCTURAL),
        (_ORDER, Trait.ORDER),
        (_COMPOSED, Trait.COMPOSED),
    )
    for name in names.split()
}
"""Trait of each operator of the default domain."""

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Einsum", "Gemm", "MatMul"})
"""Linear operators that carry weights: what stands behind the last of them is the client's."""

NONDECREASING = frozenset(
    {"Ceil", "Elu", "Erf", "Exp", "Floor", "HardSigmoid", "Relu", "Selu", "Sigmoid", "Sign"}
    | {"Softplus", "Softsign", "Tanh"}
)
"""Unary operators that are nondecreasing whatever their attributes' usual values are."""


def trait(op: Onnx) -> Trait:
    """The trait of a node; opaque where the operator or its domain is not known."""
    if op.domain:
        return Trait.OPAQUE
    if op.op_type == "Resize" and not _copies(op):
        return Trait.COMPOSED
    return TRAITS.get(op.op_type, Trait.OPAQUE)


def _copies(resize: Onnx) -> bool:
    """Whether a Resize takes every element from some place, and computes none."""
    return resize.attrs.get("mode", "nearest") == "nearest" and not looks_outside(resize)


def looks_outside(resize: Onnx) -> bool:
    """Whether a Resize may take in values from outside of its operand."""
    if resize.attrs.get("coordinate_transformation_mode") != "tf_crop_and_resize":
        return False
    window = constant_of(resize.input(1))
    return window is None or bool(((window < 0) | (window > 1)).any())
