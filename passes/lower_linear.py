"""Integer forms of linear float operators: weighted layers, pooling, sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from lutra.ir.errors import ModelError
from lutra.ir.ops import Add, Conv, Dequantize, MatMul, MulClear, Neg, Onnx, Sum, constant_of
from lutra.ir.types import Array
from lutra.passes.affine import (
    dequantized,
    integer_factors,
    linear_image,
    quantized_weights,
    varies,
    with_uniform_scale,
)
from lutra.passes.flow import affine_constant

Lowering: TypeAlias = Callable[[Onnx], Sequence[Dequantize] | None]
"""The dequantized results that stand for a node's, detached; None where it stays a float node."""


def lower_matmul(op: Onnx) -> Sequence[Dequantize] | None:
    """MatMul(s (q - z) + b, t w) -> s t (q @ w - z @ w) + b @ (t w)"""
    x, weights = dequantized(op.input(0)), quantized_weights(op.input(1))
    if x is None or weights is None:
        return None
    w, scale = weights
    if varies(scale, w.ndim, [w.ndim - 2]):
        raise _contracted_scale(op)
    x = with_uniform_scale(x, [len(x.q.shape) - 1])
    return [linear_image(op, x, MatMul(x.q, w), x.scale * scale)]


def lower_conv(op: Onnx) -> Sequence[Dequantize] | None:
    """Conv(s (q - z) + b, t w) -> s t (conv(q, w) - conv(z, w)) + Conv(b, t w)"""
    x, weights = dequantized(op.input(0)), quantized_weights(op.input(1))
    if x is None or weights is None:
        return None
    w, scale = weights
    if varies(scale, w.ndim, range(1, w.ndim)):
        raise _contracted_scale(op)
    x = with_uniform_scale(x, range(1, w.ndim))
    attrs = op.attrs
    group = attrs.get("group", 1)
    conv = Conv(x.q, w, tuple(attrs.get("strides", ())), tuple(attrs.get("dilations", ())), group)
    channel = scale.reshape(-1, *(1,) * (w.ndim - 2))
    return [linear_image(op, x, conv, x.scale * channel)]


def _contracted_scale(op: Onnx) -> ModelError:
    return ModelError(
        "F004",
        f"the weights of this {op.op_type} have scales that differ along the summed axis",
        nodes=op.loc,
        help="quantize weights per tensor or per output channel",
    )


def lower_average_pool(op: Onnx) -> Sequence[Dequantize] | None:
    """AveragePool(s (q - z)) -> s / window * (conv(q, ones) - conv(z, ones)), channel by channel"""
    x = dequantized(op.input(0))
    if x is None:
        return None
    kernel = op.attrs["kernel_shape"]
    rank = len(kernel) + 2
    x = with_uniform_scale(x, range(2, rank))
    channels = x.q.shape[1]
    ones = np.ones((channels, 1, *kernel), np.int64)
    strides, dilations = (tuple(op.attrs.get(name, ())) for name in ("strides", "dilations"))
    pool = Conv(x.q, ones, strides, dilations, channels)
    return [linear_image(op, x, pool, x.scale / np.float32(np.prod(kernel)))]


def lower_reduction(op: Onnx) -> Sequence[Dequantize] | None:
    """ReduceMean(s (q - z)) -> s / n * (sum(q) - sum(z)); ReduceSum and GlobalAveragePool alike"""
    x = dequantized(op.input(0))
    if x is None:
        return None
    rank = len(x.q.shape)
    if op.op_type == "GlobalAveragePool":
        axes: tuple[int, ...] = tuple(range(2, rank))
    else:
        given = constant_of(op.input(1))
        named = () if given is None else tuple(int(axis) % rank for axis in given)
        if not named and op.attrs.get("noop_with_empty_axes", 0):
            return [x]
        axes = named or tuple(range(rank))
    x = with_uniform_scale(x, axes)
    count = 1 if op.op_type == "ReduceSum" else int(np.prod([x.q.shape[axis] for axis in axes]))
    keepdims = bool(op.attrs.get("keepdims", 1))
    scale = x.scale / np.float32(count)
    if not keepdims and scale.ndim:
        full = scale.reshape((1,) * (rank - scale.ndim) + scale.shape)
        scale = full.reshape([size for i, size in enumerate(full.shape) if i not in axes])
    return [linear_image(op, x, Sum(x.q, axes, keepdims), scale)]


def lower_add(op: Onnx) -> Sequence[Dequantize] | None:
    """x + c -> c joins the offset; x + y and x - y -> the integers' sum, at one scale"""
    affine = affine_constant(op)
    if affine is not None:
        x = dequantized(affine[0])
        term = affine[1] if op.op_type == "Add" else -affine[1]
        return [Dequantize(x.q, x.scale, x.zero_point, x.offset + term)] if x else None
    first, second = dequantized(op.input(0)), dequantized(op.input(1))
    if first is None or second is None or first.q.shape != second.q.shape:
        return None
    if op.op_type == "Sub":
        negated = Neg(second.q).result
        second = Dequantize(negated, second.scale, -second.zero_point, -second.offset)
    return [_sum(first, second)]


def _sum(first: Dequantize, second: Dequantize) -> Dequantize:
    scales = [value.scale.astype(np.float64) for value in (first, second)]
    if np.array_equal(scales[0], scales[1]):
        unit: Array = scales[0]
    else:
        unit = np.minimum(*(np.where(s == 0, np.inf, np.abs(s)) for s in scales))
        unit = np.where(np.isfinite(unit), unit, 1.0)
        stacked = np.stack(np.broadcast_arrays(*scales))
        factors, unit = integer_factors(stacked, unit)
        first, second = (
            Dequantize(MulClear(v.q, k).result, unit, v.zero_point * k, v.offset)
            for v, k in zip((first, second), factors, strict=True)
        )
    return Dequantize(
        Add(first.q, second.q).result,
        unit,
        first.zero_point + second.zero_point,
        first.offset + second.offset,
    )


def lower_factor(op: Onnx) -> Sequence[Dequantize] | None:
    """x * c and x / c -> c joins scale and offset"""
    affine = affine_constant(op)
    x = dequantized(affine[0]) if affine is not None else None
    if affine is None or x is None or (op.op_type == "Div" and not affine[1].all()):
        return None
    join: Callable[[Array, Array], Array] = np.multiply if op.op_type == "Mul" else np.divide
    return [Dequantize(x.q, join(x.scale, affine[1]), x.zero_point, join(x.offset, affine[1]))]


LINEAR_LOWERINGS: dict[str, Lowering] = {
    "Add": lower_add,
    "AveragePool": lower_average_pool,
    "Conv": lower_conv,
    "Div": lower_factor,
    "GlobalAveragePool": lower_reduction,
    "MatMul": lower_matmul,
    "Mul": lower_factor,
    "ReduceMean": lower_reduction,
    "ReduceSum": lower_reduction,
    "Sub": lower_add,
}
