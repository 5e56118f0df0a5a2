"""Integer forms of operators in which two encrypted values meet and that need a look-up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lutra.ir.core import Value
from lutra.ir.ops import (
    Add,
    AddClear,
    Broadcast,
    Dequantize,
    Lookup,
    MatMulValues,
    Max,
    Mul,
    MulClear,
    Neg,
    Onnx,
    Reshape,
    Sub,
    Sum,
)
from lutra.ir.types import Array
from lutra.passes.affine import (
    NO_OFFSET,
    ZERO,
    dequantized,
    integer_factors,
    with_uniform_scale,
)
from lutra.passes.lower_linear import Lowering


def lower_max(op: Onnx) -> Sequence[Dequantize] | None:
    """Max(dequantize(p), dequantize(q)) -> dequantize(max(p, q)), on one grid"""
    pair = _operands(op)
    if pair is None:
        return None
    (p, q), grid = on_one_grid(pair)
    return [grid.copy({grid.q: Max(p, q).result})]


def lower_min(op: Onnx) -> Sequence[Dequantize] | None:
    """Min(dequantize(p), dequantize(q)) -> dequantize(-max(-p, -q)), on one grid"""
    pair = _operands(op)
    if pair is None:
        return None
    (p, q), grid = on_one_grid(pair)
    least = Neg(Max(Neg(p).result, Neg(q).result).result)
    return [grid.copy({grid.q: least.result})]


def lower_product(op: Onnx) -> Sequence[Dequantize] | None:
    """s (p - y) * t (q - z) -> s t ((p - y) * (q - z)); one look-up where the pair has few bits

    No look-up where one of them is clear.
    """
    pair = _operands(op)
    if pair is None:
        return None
    p, q = (_centred(value) for value in pair)
    scale = pair[0].scale.astype(np.float64) * pair[1].scale
    return [Dequantize(product(p, q), scale, ZERO, NO_OFFSET)]


def lower_inner_products(op: Onnx) -> Sequence[Dequantize] | None:
    """MatMul(s (p - y), t (q - z)) -> s t / 2 sum((p' + q')^2 - p'^2 - q'^2), p' and q' centred

    One look-up for each product, and one for each element of the operands. Where one of these is
    clear, their product is linear in the other, and takes none.
    """
    first, second = dequantized(op.input(0)), dequantized(op.input(1))
    if first is None or second is None:
        return None
    first = with_uniform_scale(first, [len(first.q.shape) - 1])
    second = with_uniform_scale(second, [len(second.q.shape) - 2])
    scale = first.scale.astype(np.float64) * second.scale
    p, q = _centred(first), _centred(second)
    if p.clear or q.clear:
        return [Dequantize(MatMulValues(p, q).result, scale, ZERO, NO_OFFSET)]
    p = Reshape(p, (*p.shape, 1)).result
    q = Reshape(q, (*q.shape[:-2], 1, *q.shape[-2:])).result
    shape = np.broadcast_shapes(p.shape, q.shape)
    axis = len(shape) - 2

    def whole(value: Value) -> Value:
        return value if value.shape == shape else Broadcast(value, shape).result

    both = _summed(_square(Add(whole(p), whole(q)).result), axis)
    alone = [_summed(_square(value), axis) for value in (p, q)]
    for value in alone:
        spread = value if value.shape == both.shape else Broadcast(value, both.shape).result
        both = Sub(both, spread).result
    return [Dequantize(both, scale / 2, ZERO, NO_OFFSET)]


def _square(value: Value) -> Value:
    """The squares of integers, by one look-up of as many bits as they have."""
    low, bits = value.int_type.min, value.int_type.span_bits
    return Lookup(value, low, (low + np.arange(1 << bits)) ** 2).result


def _summed(value: Value, axis: int) -> Value:
    return Sum(value, (axis,), keepdims=False).result


def product(p: Value, q: Value) -> Value:
    """p * q, by two look-ups of squares or by one that reads both, whichever reads fewer bits.

    By none where one is clear.

    A look-up of one bit more costs about as much as two.
    """
    squares = Mul(p, q)
    if not squares.squared():
        return squares.result
    narrow, wide = sorted((p, q), key=lambda value: value.int_type.span_bits)
    bits = wide.int_type.span_bits
    total = narrow.int_type.span_bits + bits
    if total > squares.index_bits + 1:
        return squares.result
    low, least = wide.int_type.min, narrow.int_type.min
    above = MulClear(AddClear(narrow, np.array(-least)).result, np.array(1 << bits))
    both = Add(above.result, wide)
    entries = np.arange(1 << total)
    table = ((entries >> bits) + least) * ((entries & ((1 << bits) - 1)) + low)
    return Lookup(both.result, low, table).result


def _operands(op: Onnx) -> tuple[Dequantize, Dequantize] | None:
    first, second = dequantized(op.input(0)), dequantized(op.input(1))
    if first is None or second is None or first.q.shape != second.q.shape:
        return None
    return first, second


def _centred(value: Dequantize) -> Value:
    """Integers q' with value = scale * q', up to half a step where it has an offset."""
    term = -value.zero_point
    if value.offset.any():
        scale = np.where(value.scale == 0, 1, value.scale).astype(np.float64)
        term = term + np.rint(value.offset / scale).astype(np.int64)
    return AddClear(value.q, term).result if term.any() else value.q


def on_one_grid(values: Sequence[Dequantize]) -> tuple[list[Value], Dequantize]:
    """The integers of all values on one grid, and a dequantization on that grid.

    Those on another grid are multiplied by clear integers and shifted, which costs no look-up; it
    moves them by less than a step, and scales by no more than `integer_factors` allows.
    """
    first = values[0]
    if all(_same_grid(value, first) and (value.scale > 0).all() for value in values):
        return [value.q for value in values], first
    scales = np.stack(np.broadcast_arrays(*(value.scale.astype(np.float64) for value in values)))
    smallest = np.where(scales == 0, np.inf, np.abs(scales)).min(0)
    factors, unit = integer_factors(scales, np.where(np.isfinite(smallest), smallest, 1.0))
    moved = []
    for value, k in zip(values, factors, strict=True):
        term = np.rint(value.offset / unit).astype(np.int64) - value.zero_point * k
        moved.append(AddClear(MulClear(value.q, k).result, term).result)
    return moved, Dequantize(moved[0], unit, ZERO, NO_OFFSET)


def _same_grid(value: Dequantize, other: Dequantize) -> bool:
    pairs: list[tuple[Array, Array]] = [
        (value.scale, other.scale),
        (value.zero_point, other.zero_point),
        (value.offset, other.offset),
    ]
    return all(a.shape == b.shape and bool((a == b).all()) for a, b in pairs)


JOINS: dict[str, Lowering] = {
    "MatMul": lower_inner_products,
    "Max": lower_max,
    "Min": lower_min,
    "Mul": lower_product,
}
"""For operators in which two encrypted values meet; of one value they are functions."""
