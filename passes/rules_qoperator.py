"""Operators on quantized operands, as float operators between DequantizeLinear and QuantizeLinear.

ONNX's QLinearConv, QLinearMatMul, ConvInteger, MatMulInteger and DynamicQuantizeLinear, and those
that onnxruntime adds under the domain `com.microsoft`:
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from lutra.ir.core import Value
from lutra.ir.ops import Onnx, constant_of
from lutra.ir.rewriter import Rewriter
from lutra.ir.types import Tensor
from lutra.passes.rules import Outcome, no
from lutra.passes.rules_linear import constant, node

Form: TypeAlias = Callable[[Onnx], "Value | None"]
"""The floats that a node computes before its result is quantized; None where it stays."""


def quantized_operator(op: Onnx, rw: Rewriter) -> Outcome:
    """QLinearConv(x, w) -> QuantizeLinear(Conv(DequantizeLinear(x), DequantizeLinear(w))), etc."""
    if op.domain not in ("", "com.microsoft") or op.op_type not in FORMS:
        return no("no operator on quantized operands")
    form, grid = FORMS[op.op_type]
    floats = form(op)
    if floats is None:
        return no("its parameters are not constant, or it reads channels last")
    quantized = op.input(grid) is not None
    rw.replace(op, _quantized(floats, op, grid) if quantized else floats)
    return None


def dynamic_operator(op: Onnx, rw: Rewriter) -> Outcome:
    """Cast(MatMulInteger(q, w)) * (s * c) -> MatMul(x, DequantizeLinear(w)) * c, where q and s come
    from DynamicQuantizeLinear(x): calibration says how x is quantized
    """
    if op.op_type == "DynamicQuantizeMatMul" and op.domain == "com.microsoft":
        w = _dequantized(op.input(1), op.input(2), op.input(3), -1)
        floats = node("MatMul", op.input(0), w)
        bias = op.input(4)
        rw.replace(op, floats if bias is None else node("Add", floats, bias))
        return None
    found = _dynamic_product(op)
    if found is None:
        return no("no product of integers on a scale that depends on the data")
    inner, factor = found
    quantize = inner.operands[0].owner
    assert isinstance(quantize, Onnx)
    name, axis = INTEGER[inner.op_type]
    w = _dequantized(inner.input(1), constant(1, np.float32), inner.input(3), axis)
    floats = node(name, quantize.input(0), w, **inner.attrs)
    rw.insert(floats.owner, before=op, loc=inner.loc)
    rw.replace(op, floats if factor is None else node("Mul", floats, factor))
    return None


def _dynamic_product(op: Onnx) -> tuple[Onnx, Value | None] | None:
    """The product of dynamically quantized integers in `op`, and the scale of its weights."""
    if op.op_type != "Mul" or op.domain:
        return None
    for value, scale in (op.operands, op.operands[::-1]):
        cast = _made_by(value, "Cast")
        inner = _made_by(cast.operands[0], *INTEGER) if cast else None
        quantize = _made_by(inner.operands[0], "DynamicQuantizeLinear") if inner else None
        if inner is None or quantize is None:
            continue
        steps, product = quantize.results[1], _made_by(scale, "Mul")
        factors = list(product.operands) if product else [scale]
        if steps in factors and inner.input(2) is quantize.results[2]:
            factors.remove(steps)
            return inner, factors[0] if factors else None
    return None


def _made_by(value: Value, *op_types: str) -> Onnx | None:
    """The node of the default domain and one of these types that computes a value."""
    op = value.owner
    return op if isinstance(op, Onnx) and not op.domain and op.op_type in op_types else None


def integer_operator(op: Onnx, rw: Rewriter) -> Outcome:
    """Cast(MatMulInteger(x, w)) -> MatMul(DequantizeLinear(x), DequantizeLinear(w)), of scale 1"""
    if op.op_type != "Cast" or op.domain or op.result.type != Tensor(op.result.shape):
        return no("no cast to float32")
    inner = op.operands[0].owner
    if not isinstance(inner, Onnx) or inner.op_type not in INTEGER:
        return no("no product of integers is cast")
    if _made_by(inner.operands[0], "DynamicQuantizeLinear"):
        return no("its scale depends on the data")
    name, axis = INTEGER[inner.op_type]
    one = constant(1, np.float32)
    x = _dequantized(inner.input(0), one, inner.input(2), -2)
    w = _dequantized(inner.input(1), one, inner.input(3), axis)
    floats = node(name, x, w, **inner.attrs)
    rw.insert(floats.owner, before=op, loc=inner.loc)
    rw.replace(op, floats)
    return None


# --- forms --------------------------------------------------------------------------------------
def _conv(op: Onnx) -> Value | None:
    x, w = _operand(op, 0), _operand(op, 3, axis=0)
    bias = op.input(8)
    if bias is not None:
        bias = _bias(op, bias, 1.0)
        if bias is None:
            return None
    return node("Conv", x, w, bias, **op.attrs)


def _matmul(op: Onnx) -> Value | None:
    return node("MatMul", _operand(op, 0, axis=-2), _operand(op, 3, axis=-1))


def _gemm(op: Onnx) -> Value | None:
    a, b = _operand(op, 0), _operand(op, 3, axis=0 if op.attrs.get("transB", 0) else 1)
    bias = op.input(6)
    if bias is not None:
        bias = _bias(op, bias, op.attrs.get("alpha", 1.0))
        if bias is None:
            return None
    return node("Gemm", a, b, bias, **op.attrs)


def _concat(op: Onnx) -> Value | None:
    parts = (_operand(op, index) for index in range(2, len(op.inputs), 3))
    return node("Concat", *parts, **op.attrs)


def _binary(op_type: str) -> Form:
    return lambda op: node(op_type, _operand(op, 0), _operand(op, 3))


def _unary(op_type: str) -> Form:
    def form(op: Onnx) -> Value | None:
        attrs = dict(op.attrs)
        if attrs.pop("channels_last", 0):
            return None
        return node(op_type, _operand(op, 0), **attrs)

    return form


FORMS: dict[str, tuple[Form, int]] = {
    "QGemm": (_gemm, 7),
    "QLinearAdd": (_binary("Add"), 6),
    "QLinearAveragePool": (_unary("AveragePool"), 3),
    "QLinearConcat": (_concat, 0),
    "QLinearConv": (_conv, 6),
    "QLinearGlobalAveragePool": (_unary("GlobalAveragePool"), 3),
    "QLinearLeakyRelu": (_unary("LeakyRelu"), 3),
    "QLinearMatMul": (_matmul, 6),
    "QLinearMul": (_binary("Mul"), 6),
    "QLinearSigmoid": (_unary("Sigmoid"), 3),
}
"""For each operator its float form, and which operands are the scale and zero point it writes."""

INTEGER = {"ConvInteger": ("Conv", 0), "MatMulInteger": ("MatMul", -1)}
"""Products of integers: the float operator, and the axis of the weights' zero points."""


def _operand(op: Onnx, index: int, axis: int = 1) -> Value:
    """A quantized operand, which its scale and zero point follow, as floats."""
    return _dequantized(op.input(index), op.input(index + 1), op.input(index + 2), axis)


def _dequantized(
    x: Value | None, scale: Value | None, zero_point: Value | None, axis: int
) -> Value:
    """Scales and zero points that are no scalars vary along an axis, given from either end."""
    assert x is not None
    axis = axis % len(x.shape) if x.shape else 0
    return node("DequantizeLinear", x, scale, zero_point, axis=axis)


def _bias(op: Onnx, bias: Value, factor: float) -> Value | None:
    """An int32 bias, whose scale is the product of those of both operands."""
    scales = [constant_of(op.input(index)) for index in (1, 4)]
    if scales[0] is None or scales[1] is None:
        return None
    scale = constant(scales[0] * scales[1] * np.float32(factor), np.float32)
    return _dequantized(bias, scale, None, 0)


def _quantized(floats: Value, op: Onnx, grid: int) -> Value:
    return node("QuantizeLinear", floats, op.input(grid), op.input(grid + 1))


QOPERATOR_RULES = (quantized_operator, dynamic_operator, integer_operator)
