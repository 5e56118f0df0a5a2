"""Rounding of weights with error compensation."""

from __future__ import annotations

import numpy as np

from lutra.ir.ops import Conv, MatMul
from lutra.ir.types import Array

DAMPING = 0.01
"""Share of the mean variance added to every input's, as in GPTQ."""


def columns_of(op: MatMul | Conv, x: Array, rows: int) -> Array:
    """Inputs [groups, rows, inputs of a channel] of a layer, for samples x (n, *shape)."""
    if isinstance(op, MatMul):
        columns = x.reshape(1, -1, x.shape[-1])
    else:
        flat = x.reshape(-1, *x.shape[2:])
        axes = tuple(range(2, flat.ndim))
        windows = np.lib.stride_tricks.sliding_window_view(flat, op.extent, axis=axes)
        windows = windows[(slice(None), slice(None), *(slice(None, None, s) for s in op.strides))]
        windows = windows[(..., *(slice(None, None, d) for d in op.dilations))]
        space = len(op.strides)
        order = (1, 0, *range(2, 2 + space), *range(2 + space, 2 + 2 * space))
        windows = windows.transpose(order)  # [C, n, *out, *kernel]
        taps = int(np.prod(op.w.shape[2:]))
        by_channel = windows.reshape(op.group, op.w.shape[1], -1, taps)
        columns = by_channel.transpose(0, 2, 1, 3).reshape(op.group, by_channel.shape[2], -1)
    step = max(1, columns.shape[1] // rows)
    return columns[:, ::step].astype(np.float64)


def round_compensated(weights: Array, columns: Array) -> Array:
    """Round weights [outputs, inputs] to integers for inputs [rows, inputs].

    The inputs of largest variance are rounded first; the error of each is spread over the inputs
    still to come, in the way that disturbs the outputs' variation least (Frantar et al., "GPTQ:
    Accurate Post-Training Quantization for Generative Pre-trained Transformers", ICLR 2023).
    """
    centred = columns - columns.mean(0)
    gram = centred.T @ centred / max(1, len(columns))
    gram += DAMPING * (np.trace(gram) / len(gram) or 1.0) * np.eye(len(gram))
    order = np.argsort(-np.diag(gram), kind="stable")
    inverse = np.linalg.inv(gram[np.ix_(order, order)])
    spread = np.linalg.cholesky(inverse).T
    rest = weights[:, order].copy()
    rounded = np.empty_like(rest)
    for i in range(rest.shape[1]):
        rounded[:, i] = np.rint(rest[:, i])
        error = (rest[:, i] - rounded[:, i]) / spread[i, i]
        rest[:, i + 1 :] -= error[:, None] * spread[i, i + 1 :]
    result = np.empty_like(rounded)
    result[:, order] = rounded
    return result
