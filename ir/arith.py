"""Exact integer arithmetic on arrays, and interval arithmetic on top of it.

Products go through floating-point BLAS wherever every partial sum is exactly representable
(below 2^24 in float32, below 2^53 in float64); numpy's own integer matmul is many times slower.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from lutra.ir.types import Array, Int, Ints

Interval: TypeAlias = tuple[Ints, Ints]


def exact_dtype(x: Array, w: Array, terms: int) -> Any:
    """The fastest type in which sums of `terms` products of x and w are exact."""
    largest = [float(np.abs(a.astype(np.float64)).max()) if a.size else 0.0 for a in (x, w)]
    bound = largest[0] * largest[1] * terms
    return np.float32 if bound < 2**24 else np.float64 if bound < 2**53 else np.int64


def matmul(x: Array, w: Array) -> Ints:
    """x @ w for integer arrays, exactly."""
    dtype = exact_dtype(x, w, w.shape[-2])
    return np.matmul(x.astype(dtype), w.astype(dtype)).astype(np.int64)


def conv(x: Array, w: Array, strides: Sequence[int], dilations: Sequence[int], group: int) -> Ints:
    """Cross-correlation without padding: x [N, C, *space], w [O, C/group, *kernel], exactly."""
    space = w.ndim - 2
    out_channels, in_channels = w.shape[:2]
    extent = [(k - 1) * d + 1 for k, d in zip(w.shape[2:], dilations, strict=True)]
    axes = tuple(range(2, 2 + space))
    windows = np.lib.stride_tricks.sliding_window_view(x, extent, axis=axes)
    windows = windows[(slice(None), slice(None), *(slice(None, None, s) for s in strides))]
    windows = windows[(..., *(slice(None, None, d) for d in dilations))]
    out = windows.shape[2 : 2 + space]
    dtype = exact_dtype(x, w, int(np.prod(w.shape[1:])))
    # [N, g, C/g, *out, *kernel] -> [N, g, prod(out), C/g * prod(kernel)]
    columns = windows.astype(dtype).reshape(x.shape[0], group, in_channels, *out, *w.shape[2:])
    order = (0, 1, *range(3, 3 + space), 2, *range(3 + space, 3 + 2 * space))
    terms = int(np.prod(w.shape[1:]))
    columns = columns.transpose(order).reshape(x.shape[0], group, -1, terms)
    kernels = w.reshape(group, out_channels // group, terms).transpose(0, 2, 1).astype(dtype)
    result = np.matmul(columns, kernels)  # [N, g, prod(out), O/g]
    return result.transpose(0, 1, 3, 2).reshape(x.shape[0], out_channels, *out).astype(np.int64)


def linear_bounds(apply: Callable[[Ints, Ints], Ints], lo: Ints, hi: Ints, w: Ints) -> Interval:
    """Exact bounds of apply(x, w), linear in both, for lo <= x <= hi: each weight's sign decides."""
    positive, negative = np.maximum(w, 0), np.minimum(w, 0)
    return (
        apply(lo, positive) + apply(hi, negative),
        apply(hi, positive) + apply(lo, negative),
    )


def product_bounds(x: Interval, y: Interval) -> Interval:
    """Exact bounds of x * y, element by element."""
    corners = [a * b for a in x for b in y]
    return (
        np.minimum.reduce(np.broadcast_arrays(*corners)),
        np.maximum.reduce(np.broadcast_arrays(*corners)),
    )


def expand(bound: Ints, type: Int, axes: Sequence[int]) -> Ints:
    """`bound` with the full size of `type.shape` on some axes."""
    shape = list(bound.shape)
    for axis in axes:
        shape[axis] = type.shape[axis]
    return np.broadcast_to(bound, shape)
