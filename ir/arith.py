"""Exact integer arithmetic on arrays, and interval arithmetic on top of it.

Products go through floating-point BLAS wherever every partial sum is exactly representable
(below 2^24 in float32, below 2^53 in float64); numpy's own integer matmul is many times slower.
Where int64 might wrap, Python's integers take over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from lutra.ir.errors import VerifyError
from lutra.ir.types import MAX_MAGNITUDE, Array, Int, Ints, Shape, largest

Interval: TypeAlias = tuple[Ints, Ints]

CHUNK = 1 << 24
"""Elements of the largest intermediate arrays."""


def align(x: Array, rank: int) -> Array:
    """x (samples, *shape) with axes of size 1 put before its shape, up to `rank` axes of shape."""
    return x.reshape(x.shape[0], *(1,) * (rank - x.ndim + 1), *x.shape[1:])


def exact_dtype(x: Array, w: Array, terms: int) -> Any:
    """The fastest type in which sums of `terms` products of x and w are exact."""
    bound = largest(x) * largest(w) * terms
    if bound < 2**24:
        return np.float32
    return np.float64 if bound < 2**53 else np.int64 if bound < MAX_MAGNITUDE else object


def to_int64(x: Array) -> Ints:
    """x as int64. VerifyError (V004) where Python integers do not fit."""
    if x.dtype == object and largest(x) >= MAX_MAGNITUDE:
        raise VerifyError("V004", f"a value reaches {float(largest(x)):.3g}")
    return np.asarray(x, dtype=np.int64)


def matmul(x: Array, w: Array) -> Ints:
    """x @ w for integer arrays, exactly."""
    dtype = exact_dtype(x, w, w.shape[-2])
    return to_int64(np.matmul(x.astype(dtype), w.astype(dtype)))


def multiply(x: Array, y: Array) -> Ints:
    """x * y for integer arrays, exactly."""
    if exact_dtype(x, y, 1) is object:
        return to_int64(x.astype(object) * y.astype(object))
    return np.asarray(x * y)


def total(x: Array, axes: tuple[int, ...], keepdims: bool) -> Ints:
    """Sums over some axes, exactly."""
    terms = int(np.prod([x.shape[axis] for axis in axes]))
    wide = x.astype(object) if largest(x) * terms >= MAX_MAGNITUDE else x
    return to_int64(np.asarray(wide.sum(axes, keepdims=keepdims)))


def conv(x: Array, w: Array, strides: Sequence[int], dilations: Sequence[int], group: int) -> Ints:
    """Cross-correlation without padding: x [N, C, *space], w [O, C/group, *kernel], exactly."""
    windows = conv_windows(x, w.shape[2:], strides, dilations)
    per_sample = int(np.prod(windows.shape[1:]))
    chunk = max(1, CHUNK // max(1, per_sample))
    dtype = exact_dtype(x, w, int(np.prod(w.shape[1:])))
    starts = range(0, max(1, len(x)), chunk)
    parts = [_conv(windows[i : i + chunk].astype(dtype), w, group) for i in starts]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def conv_windows(
    x: Array, kernel: Shape, strides: Sequence[int], dilations: Sequence[int]
) -> Array:
    """What a kernel sees where: a view [N, C, *positions, *kernel] of x [N, C, *space]."""
    extent = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True))
    axes: Any = tuple(range(2, x.ndim))  # numpy's stub knows single axes only
    windows = np.lib.stride_tricks.sliding_window_view(x, extent, axis=axes)
    steps = tuple(slice(None, None, step) for step in (1, 1, *strides, *dilations))
    return windows[steps]


def _conv(windows: Array, w: Array, group: int) -> Ints:
    """The products and sums of `conv`, for windows [N, C, *positions, *kernel]."""
    samples, space = len(windows), w.ndim - 2
    positions = windows.shape[2 : 2 + space]
    terms = int(np.prod(w.shape[1:]))
    # [N, g, C/g, *positions, *kernel] -> [N, g, prod(positions), C/g * prod(kernel)]
    columns = windows.reshape(samples, group, w.shape[1], *positions, *w.shape[2:])
    columns = columns.transpose(0, 1, *range(3, 3 + space), 2, *range(3 + space, columns.ndim))
    columns = columns.reshape(samples, group, int(np.prod(positions)), terms)
    kernels = w.reshape(group, w.shape[0] // group, terms).transpose(0, 2, 1)
    result = np.matmul(columns, kernels.astype(windows.dtype))  # [N, g, prod(positions), O/g]
    return to_int64(result.transpose(0, 1, 3, 2).reshape(samples, w.shape[0], *positions))


def linear_bounds(apply: Callable[[Ints, Ints], Ints], lo: Ints, hi: Ints, w: Ints) -> Interval:
    """Exact bounds of apply(x, w), linear in both, for lo <= x <= hi; the weights' signs decide."""
    positive, negative = np.maximum(w, 0), np.minimum(w, 0)
    return (
        apply(lo, positive) + apply(hi, negative),
        apply(hi, positive) + apply(lo, negative),
    )


def product_bounds(x: Interval, y: Interval) -> Interval:
    """Exact bounds of x * y, element by element."""
    corners = np.broadcast_arrays(*(multiply(a, b) for a in x for b in y))
    return np.minimum.reduce(corners), np.maximum.reduce(corners)


def expand(bound: Ints, type: Int, axes: Sequence[int]) -> Ints:
    """`bound` with the full size of `type.shape` on some axes."""
    shape = list(bound.shape)
    for axis in axes:
        shape[axis] = type.shape[axis]
    return np.broadcast_to(bound, shape)
