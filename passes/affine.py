"""Float values that are known as scale * (q - zero_point) + offset for encrypted integers q."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lutra.ir import ort
from lutra.ir.core import Op, Value
from lutra.ir.ops import Constant, Dequantize, IntConstant, MulClear, Onnx, constant_of
from lutra.ir.types import Array, Ints, frozen

ZERO = frozen(0, np.int64)
NO_OFFSET = frozen(0, np.float32)

TOLERANCE = 1 / 256
"""Relative error that rescaling by integers may add to a scale."""
DIVISORS = (*range(1, 16), *(1 << i for i in range(4, 13)))
"""Parts of the smallest scale that are tried as the unit of all."""


def dequantized(value: Value | None) -> Dequantize | None:
    """The dequantize operation behind a value, if it reads encrypted integers."""
    if value is not None and isinstance(value.owner, Dequantize):
        return None if isinstance(value.owner.q.owner, IntConstant) else value.owner
    return None


def clear_integers(value: Value | None) -> Dequantize | None:
    """The dequantize operation behind a value, if it reads clear integers."""
    if value is None or not isinstance(value.owner, Dequantize):
        return None
    return value.owner if isinstance(value.owner.q.owner, IntConstant) else None


def quantized_weights(value: Value | None) -> tuple[Ints, Array] | None:
    """(integers, scale) of a weight that stands as dequantize(int_constant).

    Of halves, such as the offset of bipolar weights, half the scale makes integers; None where
    the offset is of no such kind.
    """
    weights = clear_integers(value)
    if weights is None or not isinstance(weights.q.owner, IntConstant):
        return None
    integers = weights.q.owner.value - weights.zero_point
    if not weights.offset.any():
        return integers, weights.scale
    halves = 2 * weights.offset.astype(np.float64) / weights.scale
    if not np.array_equal(halves, np.rint(halves)):
        return None
    return 2 * integers + halves.astype(np.int64), weights.scale / 2


def clear_value(value: Value) -> Array | None:
    """The tensor behind a constant or a dequantized integer constant."""
    weights = clear_integers(value)
    if weights is None:
        return constant_of(value)
    assert isinstance(weights.q.owner, IntConstant)
    return weights.eval(weights.q.owner.value)


def varies(array: Array, rank: int, axes: Sequence[int]) -> bool:
    """Whether an array that broadcasts to `rank` axes varies along some of `axes`."""
    shape = (1,) * (rank - array.ndim) + array.shape
    return any(shape[axis] > 1 for axis in axes)


def with_uniform_scale(value: Dequantize, axes: Sequence[int]) -> Dequantize:
    """The same float value with a scale that is constant along `axes`.

    The integers are multiplied by integer factors in the proportion of their scales, which costs
    no look-up; the proportions are met up to `TOLERANCE`.
    """
    rank = len(value.q.shape)
    if not varies(value.scale, rank, axes):
        return value
    aligned = (1,) * (rank - value.scale.ndim) + value.scale.shape
    scale = value.scale.astype(np.float64).reshape(aligned)
    magnitude = np.where(scale == 0, np.inf, np.abs(scale))
    unit = magnitude.min(tuple(axes), keepdims=True)
    factors, unit = integer_factors(scale, np.where(np.isfinite(unit), unit, 1.0))
    q = MulClear(value.q, factors).result
    return Dequantize(q, unit.astype(np.float32), value.zero_point * factors, value.offset)


def integer_factors(scale: Array, unit: Array) -> tuple[Ints, Array]:
    """(k, u) with integers k, k * u ~ scale up to `TOLERANCE`, and u = unit / an integer.

    The integer is small where there is such, else a power of two.
    """
    for parts in DIVISORS:
        factors = np.rint(scale / unit * parts)
        wrong = np.abs(factors * unit / parts - scale) > TOLERANCE * np.abs(scale)
        if not wrong.any():
            break
    return factors.astype(np.int64), unit / parts


def linear_image(op: Onnx, value: Dequantize, integer: Op, factor: Array) -> Dequantize:
    """op(value), where `integer` does on integers what `op` does on floats, up to `factor`.

    op(scale * (q - z) + b) = scale * factor * (integer(q) - integer(z)) + op(b), because both are
    linear; scale must be constant wherever `op` adds elements up.
    """
    zero_point: Array = ZERO
    if value.zero_point.any():
        full = np.broadcast_to(value.zero_point, value.q.shape)
        zero_point = integer.eval(full[None])[0]
    offset: Array = NO_OFFSET
    if value.offset.any():
        offset = run_on_constant(op, np.broadcast_to(value.offset, value.q.shape))
    return Dequantize(integer.result, factor, zero_point, offset)


def run_on_constant(op: Onnx, x: Array) -> Array:
    """onnxruntime's result of a node whose first operand is replaced by the tensor x."""
    constants: dict[Value, Op] = {}
    for i, value in enumerate(op.inputs):
        if value is not None:
            array = np.asarray(x, np.float32) if i == 0 else clear_value(value)
            assert array is not None
            constants[value] = Constant(array)
    twin = op.copy({value: constant.results[0] for value, constant in constants.items()})
    return folded(twin)[0]


def folded(op: Onnx) -> list[Array]:
    """onnxruntime's results of a node that reads constants only."""
    model = ort.model_of([*(v.owner for v in dict.fromkeys(op.operands)), op], [], op.results)
    return [np.asarray(array) for array in ort.Session(model, op.loc).run([])]
