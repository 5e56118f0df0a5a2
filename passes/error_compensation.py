"""Rounding of weights with error compensation, and the search for their scales."""

from __future__ import annotations

import numpy as np

from lutra.ir import arith
from lutra.ir.ops import Conv, MatMul
from lutra.ir.types import Array

DAMPING = 0.01
"""Share of the mean variance that is added to every input's, as in GPTQ."""
ROWS = 16384
"""Input vectors of a layer from which its covariance is estimated."""
SHRINKS = np.geomspace(1.0, 4.0, 25)
"""By how much the largest weight may exceed the largest integer, when scales are searched."""


def covariances(op: MatMul | Conv, x: Array) -> Array:
    """Covariance [groups, inputs, inputs] of what a layer's channels read, for x (n, *shape)."""
    columns = _columns(op, x)
    columns = columns[:, :: max(1, columns.shape[1] // ROWS)].astype(np.float64)
    columns -= columns.mean(1, keepdims=True)
    return np.asarray(columns.swapaxes(1, 2) @ columns / max(1, columns.shape[1]))


def _columns(op: MatMul | Conv, x: Array) -> Array:
    """Inputs [groups, rows, inputs of a channel]."""
    if isinstance(op, MatMul):
        return x.reshape(1, -1, x.shape[-1])
    flat = x.reshape(-1, *x.shape[2:])
    windows = arith.conv_windows(flat, op.w.shape[2:], op.strides, op.dilations)
    space = len(op.strides)
    channels_first = windows.transpose(1, 0, *range(2, windows.ndim))
    taps = int(np.prod(windows.shape[2 + space :]))
    rows = int(np.prod(channels_first.shape[1 : 2 + space]))
    grouped = channels_first.reshape(op.group, op.w.shape[1], rows, taps)
    return grouped.transpose(0, 2, 1, 3).reshape(op.group, rows, -1)


def round_compensated(weights: Array, covariance: Array, top: int | None = None) -> Array:
    """Round weights [outputs, inputs] to integers, of at most `top` in magnitude if given.

    The inputs of largest variance are rounded first; the error of each is spread over the inputs
    still to come, in the way that disturbs the outputs' variation least (Frantar et al., "GPTQ:
    Accurate Post-Training Quantization for Generative Pre-trained Transformers", ICLR 2023).
    """
    damped = covariance + DAMPING * (np.trace(covariance) / len(covariance) or 1.0) * np.eye(
        len(covariance)
    )
    order = np.argsort(-np.diag(damped), kind="stable")
    spread = np.linalg.cholesky(np.linalg.inv(damped[np.ix_(order, order)])).T
    rest = weights[:, order].astype(np.float64)
    result = np.empty_like(rest)
    for i, target in enumerate(order):
        rounded = _round(rest[:, i], top)
        result[:, target] = rounded
        error = (rest[:, i] - rounded) / spread[i, i]
        rest[:, i + 1 :] -= error[:, None] * spread[i, i + 1 :]
    return result


def best_shrink(weights: Array, covariance: Array, top: int) -> Array:
    """For weights [outputs, inputs] that reach `top`, the factor [outputs] to stretch them by.

    Weights beyond `top` are clipped: a few large ones lose what the many small ones gain in
    precision. The factor of least output variance lost is taken, for rounding to nearest.
    """
    losses = []
    for shrink in SHRINKS:
        error = weights - _round(weights * shrink, top) / shrink
        losses.append(np.einsum("oi,ij,oj->o", error, covariance, error, optimize=True))
    return np.asarray(SHRINKS[np.argmin(losses, axis=0)])


def _round(weights: Array, top: int | None) -> Array:
    rounded = np.rint(weights)
    return rounded if top is None else np.clip(rounded, -top, top)
