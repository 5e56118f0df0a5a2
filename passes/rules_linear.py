"""Canonicalization rules of the float level: linear operators, with their constants folded in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lutra.ir.core import Op, Value
from lutra.ir.ops import Constant, Onnx, constant_of
from lutra.ir.rewriter import Rewriter
from lutra.ir.types import Array
from lutra.passes.flow import affine_constant, is_constant, is_onnx
from lutra.passes.rules import Outcome, no, on

LINEAR_WITH_WEIGHTS = ("Conv", "MatMul")


def constant(array: ArrayLike, dtype: Any = None) -> Value:
    """A new constant, detached until what reads it is inserted."""
    return Constant(np.asarray(array, dtype)).result


def node(op_type: str, *inputs: Value | None, **attrs: Any) -> Value:
    """The result of a new ONNX node, detached until what reads it is inserted."""
    return Onnx.make(op_type, inputs, **attrs).result


def reshaped(value: Value, shape: Sequence[int]) -> Value:
    """The value under another shape, itself if it has that shape.

    A first axis that stays is written as 0, so that many samples can go through at once.
    """
    if value.shape == tuple(shape):
        return value
    kept = tuple(shape[:1]) == value.shape[:1] != ()
    return node("Reshape", value, constant([0, *shape[1:]] if kept else shape, np.int64))


@on("Gemm")
def gemm_to_matmul(gemm: Onnx, rw: Rewriter) -> Outcome:
    """Gemm(a, b, c) -> MatMul(a, alpha * b) + beta * c"""
    a, b, c = gemm.inputs[0], gemm.inputs[1], gemm.input(2)
    if gemm.attrs.get("transA", 0):
        a = node("Transpose", a, perm=[1, 0])
    if gemm.attrs.get("transB", 0):
        b = node("Transpose", b, perm=[1, 0])
    alpha, beta = gemm.attrs.get("alpha", 1.0), gemm.attrs.get("beta", 1.0)
    if alpha != 1.0:
        b = node("Mul", b, constant(alpha, np.float32))
    result = node("MatMul", a, b)
    if c is not None:
        scaled = c if beta == 1.0 else node("Mul", c, constant(beta, np.float32))
        result = node("Add", result, scaled)
    rw.replace(gemm, result)
    return None


@on("MatMul")
def matmul_of_matrices(matmul: Onnx, rw: Rewriter) -> Outcome:
    """MatMul(x, w) -> Reshape(MatMul(x', w')): matrices for vectors, as many axes in x as in w"""
    x, w = matmul.operands
    rank = 2 if is_constant(x) else max(2, len(w.shape))
    if len(x.shape) >= rank and len(w.shape) >= 2:
        return no("both operands are matrices of enough axes")
    row = (1,) * (rank - len(x.shape)) + x.shape
    column = w.shape if len(w.shape) > 1 else (*w.shape, 1)
    product = node("MatMul", reshaped(x, row), reshaped(w, column))
    rw.replace(matmul, reshaped(product, matmul.result.shape))
    return None


@on("MatMul")
def clear_matmul_encrypted(matmul: Onnx, rw: Rewriter) -> Outcome:
    """MatMul(w, x) -> Transpose(MatMul(Transpose(x), Transpose(w))), for clear w"""
    w, x = matmul.operands
    if not is_constant(w) or is_constant(x):
        return no("its first operand is not clear, or its second is")
    if min(len(w.shape), len(x.shape)) < 2:
        return no("an operand is a vector")
    product = node("MatMul", _transposed(x), _transposed(w))
    rw.replace(matmul, _transposed(product))
    return None


def _transposed(value: Value) -> Value:
    rank = len(value.shape)
    return node("Transpose", value, perm=[*range(rank - 2), rank - 1, rank - 2])


@on("Conv")
def conv_without_bias(conv: Onnx, rw: Rewriter) -> Outcome:
    """Conv(x, w, b) -> Conv(x, w) + b"""
    bias = conv.input(2)
    if bias is None:
        return no("it has no bias")
    product = node("Conv", *conv.inputs[:2], **conv.attrs)
    shape = (*bias.shape, *(1,) * (len(product.shape) - 2))
    rw.replace(conv, node("Add", product, reshaped(bias, shape)))
    return None


@on("Conv")
def conv_without_padding(conv: Onnx, rw: Rewriter) -> Outcome:
    """Conv(x, w, pads) -> Conv(Pad(x, pads), w)"""
    if is_constant(conv.result):
        return no("no encrypted value is convolved")
    x, w = conv.operands[:2]
    pads = padding(conv, x.shape, w.shape[2:])
    if not any(pads):
        return no("nothing is padded")
    attrs = {k: v for k, v in conv.attrs.items() if k not in ("pads", "auto_pad")}
    rw.replace(conv, node("Conv", _pad(x, pads), *conv.inputs[1:], **attrs))
    return None


@on("AveragePool")
def pool_without_padding(pool: Onnx, rw: Rewriter) -> Outcome:
    """AveragePool(x, pads) -> AveragePool(Pad(x, pads)) * window / elements averaged"""
    if is_constant(pool.result):
        return no("no encrypted value is averaged")
    x = pool.operands[0]
    pads = padding(pool, x.shape, pool.attrs["kernel_shape"])
    if not any(pads):
        return no("nothing is padded")
    drop = ("pads", "auto_pad", "count_include_pad", "ceil_mode")
    attrs = {k: v for k, v in pool.attrs.items() if k not in drop}
    pooled = node("AveragePool", _pad(x, pads), **attrs)
    # What the pool makes of ones tells by which share of its window each position is averaged.
    ones = constant(np.ones(x.shape), np.float32)
    share = node("AveragePool", _pad(ones, pads), **attrs)
    kept = Onnx((ones,), "AveragePool", (pool.types[0],), pool.attrs).result
    rw.replace(pool, node("Mul", pooled, node("Div", kept, share)))
    return None


def padding(op: Onnx, shape: Sequence[int], kernel: Sequence[int]) -> list[int]:
    """Explicit pads (all starts, then all ends) of a convolution or pooling.

    With `ceil_mode`, the end is padded so that the last, partial window exists.
    """
    space = len(kernel)
    auto = op.attrs.get("auto_pad", "NOTSET")
    strides = op.attrs.get("strides", [1] * space)
    dilations = op.attrs.get("dilations", [1] * space)
    pads = list(op.attrs.get("pads", [0] * 2 * space)) if auto == "NOTSET" else [0] * 2 * space
    for axis in range(space):
        extent = (kernel[axis] - 1) * dilations[axis] + 1
        reach = (op.results[0].shape[axis + 2] - 1) * strides[axis] + extent
        missing = max(0, reach - shape[axis + 2] - pads[axis] - pads[axis + space])
        first = {"SAME_UPPER": missing // 2, "SAME_LOWER": missing - missing // 2}.get(auto, 0)
        pads[axis] += first
        pads[axis + space] += missing - first
    return pads


def _pad(x: Value, pads: Sequence[int]) -> Value:
    space = len(pads) // 2
    amounts = constant([0, 0, *pads[:space], 0, 0, *pads[space:]], np.int64)
    return node("Pad", x, amounts, constant(0, np.float32), mode="constant")


@on("BatchNormalization")
def batch_norm_to_affine(bn: Onnx, rw: Rewriter) -> Outcome:
    """BatchNormalization(x) -> x * a + b, with a = scale / sqrt(var + eps), b = bias - mean * a"""
    if bn.attrs.get("training_mode", 0):
        return no("it is in training mode")
    x, *parameters = bn.operands
    arrays = [constant_of(value) for value in parameters]
    if any(array is None for array in arrays):
        return no("its statistics are not constant")
    scale, bias, mean, var = (np.asarray(array, np.float64) for array in arrays)
    a = scale / np.sqrt(var + bn.attrs.get("epsilon", 1e-5))
    shape = (-1,) + (1,) * (len(x.shape) - 2)
    factor, term = (c.astype(np.float32).reshape(shape) for c in (a, bias - mean * a))
    rw.replace(bn, node("Add", node("Mul", x, constant(factor)), constant(term)))
    return None


@on("Sub", "Div")
def affine_behind_linear(op: Onnx, rw: Rewriter) -> Outcome:
    """x - c -> x + (-c) and x / c -> x * (1 / c), for constants c behind a linear operator"""
    affine = affine_constant(op)
    if affine is None or not is_linear_sum(affine[0]):
        return no("not a constant subtracted from or dividing a linear operator's result")
    x, c = affine
    if op.op_type == "Sub":
        rw.replace(op, node("Add", x, constant(-c)))
    elif (c == 0).any():
        return no("it divides by zero")
    else:
        rw.replace(op, node("Mul", x, constant(1 / c.astype(np.float64), c.dtype)))
    return None


@on("Add")
def merge_terms(op: Onnx, rw: Rewriter) -> Outcome:
    """(x + b) + c -> x + (b + c)"""
    outer = affine_constant(op)
    inner = affine_constant(outer[0].owner) if outer and is_onnx(outer[0].owner, "Add") else None
    if outer is None or inner is None or not outer[0].used_once:
        return no("not a sum of constants added one after the other")
    rw.replace(op, node("Add", inner[0], constant(inner[1] + outer[1])))
    return None


@on("Add", "Sub")
def sum_of_multiples(op: Onnx, rw: Rewriter) -> Outcome:
    """(x * a + b) + (x * c + d) -> x * (a + c) + (b + d), and differences alike"""
    if any(value.type != op.types[0] for value in op.operands):
        return no("not a sum or difference of floats of one shape")
    (x, a, b), (y, c, d) = map(_multiple, op.operands)
    if x is not y or is_constant(x):
        return no("its operands are not multiples of one value")
    join = np.add if op.op_type == "Add" else np.subtract
    product = node("Mul", x, constant(join(a, c), np.float32))
    rw.replace(op, node("Add", product, constant(join(b, d), np.float32)))
    return None


def _multiple(value: Value) -> tuple[Value, Array, Array]:
    """(x, a, b) with value = x * a + b, for constants a and b."""
    op = value.owner
    affine = affine_constant(op)
    if affine is None or (is_onnx(op, "Div") and not affine[1].all()):
        return value, np.ones(()), np.zeros(())
    x, a, b = _multiple(affine[0])
    c = affine[1].astype(np.float64)
    if is_onnx(op, "Add", "Sub"):
        return x, a, b + c if is_onnx(op, "Add") else b - c
    factor = c if is_onnx(op, "Mul") else 1 / c
    return x, a * factor, b * factor


@on("Mul")
def factor_before_term(op: Onnx, rw: Rewriter) -> Outcome:
    """(x + b) * c -> x * c + b * c, for x a linear operator's result"""
    outer = affine_constant(op)
    inner = affine_constant(outer[0].owner) if outer and is_onnx(outer[0].owner, "Add") else None
    if outer is None or inner is None or not outer[0].used_once:
        return no("not a factor behind a constant term")
    x, b = inner
    if not is_onnx(x.owner, *LINEAR_WITH_WEIGHTS):
        return no("the sum is not a linear operator's result")
    factor = outer[1]
    rw.replace(op, node("Add", node("Mul", x, constant(factor)), constant(b * factor)))
    return None


@on("Mul")
def factor_into_weights(op: Onnx, rw: Rewriter) -> Outcome:
    """Conv(x, w) * c -> Conv(x, w * c), and the same for MatMul"""
    affine = affine_constant(op)
    if affine is None or not is_onnx(affine[0].owner, *LINEAR_WITH_WEIGHTS):
        return no("not a factor behind a linear operator")
    value, c = affine
    linear = value.owner
    assert isinstance(linear, Onnx)
    weights = constant_of(linear.inputs[1])
    if weights is None or weights.ndim < 2 or not value.used_once:
        return no("its weights are no constant matrix, or its result has another user")
    if linear.input(2) is not None:
        return no("its bias is not split off yet")
    scaled = _scale_channels(linear.op_type, weights, c, len(value.shape))
    if scaled is None:
        return no("the factor differs within an output channel")
    rw.replace(op, node(linear.op_type, linear.inputs[0], constant(scaled), **linear.attrs))
    return None


def _scale_channels(op_type: str, weights: Array, factor: Array, rank: int) -> Array | None:
    axis = 1 if op_type == "Conv" else rank - 1
    aligned = (1,) * (rank - factor.ndim) + factor.shape
    if any(size != 1 for i, size in enumerate(aligned) if i != axis):
        return None
    columns = weights.ndim - 1 if op_type == "Conv" else 0
    return np.asarray(weights * factor.reshape(-1, *(1,) * columns))


def is_linear_sum(value: Value) -> bool:
    """Whether a value is a linear operator's result, perhaps with constants added or multiplied."""
    op: Op = value.owner
    while True:
        if is_onnx(op, *LINEAR_WITH_WEIGHTS):
            return True
        affine = affine_constant(op)
        if affine is None:
            return False
        op = affine[0].owner


LINEAR_RULES = (
    gemm_to_matmul,
    matmul_of_matrices,
    clear_matmul_encrypted,
    conv_without_padding,
    conv_without_bias,
    pool_without_padding,
    batch_norm_to_affine,
    affine_behind_linear,
    merge_terms,
    sum_of_multiples,
    factor_before_term,
    factor_into_weights,
)
