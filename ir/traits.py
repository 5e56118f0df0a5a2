"""What Lutra knows of each ONNX operator, in terms of computing on encrypted values.

This is the one table of operators; lowering, support checks and documentation derive from it.
Operators without an entry are opaque: they run in the clear, before or behind the circuit, or not
at all.
"""

from __future__ import annotations

from enum import Enum

from lutra.ir.ops.onnx import Onnx


class Trait(Enum):
    """How an operator acts on encrypted operands."""

    ELEMENTWISE = "a function of each element (and of clear constants): part of a table look-up"
    LINEAR = "linear in its encrypted operand: integer arithmetic, no bootstrap"
    STRUCTURAL = "moves elements only"
    ORDER = "picks among elements by size, commutes with monotone functions"
    OPAQUE = "runs in the clear only"


_ELEMENTWISE = """
    Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor
    Cast Ceil Celu Clip Cos Cosh Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid
    HardSwish IsInf IsNaN LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or PRelu
    Pow Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum Swish
    Tan Tanh ThresholdedRelu Where Xor
"""
_LINEAR = """
    AveragePool Conv Gemm GlobalAveragePool MatMul ReduceMean ReduceSum
"""
_STRUCTURAL = """
    Concat DepthToSpace Expand Flatten Gather GatherElements GatherND Identity Pad Reshape
    Slice SpaceToDepth Split Squeeze Tile Transpose Unsqueeze
"""
_ORDER = "GlobalMaxPool MaxPool ReduceMax ReduceMin"

TRAITS: dict[str, Trait] = {
    name: trait
    for names, trait in (
        (_ELEMENTWISE, Trait.ELEMENTWISE),
        (_LINEAR, Trait.LINEAR),
        (_STRUCTURAL, Trait.STRUCTURAL),
        (_ORDER, Trait.ORDER),
    )
    for name in names.split()
}
"""Trait of each operator of the default domain."""

WEIGHTED = frozenset({"Conv", "Gemm", "MatMul"})
"""Linear operators that carry weights: what stands behind the last of them is the client's."""

NONDECREASING = frozenset(
    {"Ceil", "Elu", "Erf", "Exp", "Floor", "HardSigmoid", "Relu", "Selu", "Sigmoid", "Sign"}
    | {"Softplus", "Softsign", "Tanh"}
)
"""Unary operators that are nondecreasing whatever their attributes' usual values are."""


def trait(op: Onnx) -> Trait:
    """The trait of a node; opaque where the operator or its domain is not known."""
    return TRAITS.get(op.op_type, Trait.OPAQUE) if not op.domain else Trait.OPAQUE
