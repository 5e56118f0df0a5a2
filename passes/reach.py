"""How far values reach: what calibration saw, and what it has to expect beyond."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np

from lutra.ir.errors import PipelineError
from lutra.ir.types import Array, Ints
from lutra.passes.bits import Bits, bits_for

Margin: TypeAlias = float | Literal["auto"]
"""By which share of their width observed ranges are widened at both ends; `auto` derives it."""

FOLDS = 4
"""Parts of the samples whose ends are compared with those of all."""
UNKNOWN = 0.25
"""The margin where there are too few samples to tell, and the largest."""
DOUBLINGS = np.arange(0.0, 30.25, 0.25)
"""Margins are tried that 2^these times as many values keep to."""


def check_margin(margin: Margin) -> None:
    """Error P002 unless the margin is one."""
    if margin != "auto" and not float(margin) >= 0:
        raise PipelineError("P002", f"`margin` is {margin}, a share that is not negative")


class Reach:
    """Ends of an integer tensor's values, for each index along `axes` of a sample's shape."""

    def __init__(self, axes: Sequence[int]) -> None:
        self.axes = tuple(axes)
        self._lo: list[Array] = []
        self._hi: list[Array] = []
        self._samples = 0
        self._values = 0

    def update(self, batch: Array) -> None:
        """Take in a batch (samples, *shape)."""
        for first in range(min(FOLDS, len(batch))):
            fold = (self._samples + first) % FOLDS
            lo, hi = extremes(batch[first::FOLDS], self.axes)
            if fold < len(self._lo):
                self._lo[fold] = np.minimum(self._lo[fold], lo)
                self._hi[fold] = np.maximum(self._hi[fold], hi)
            else:
                self._lo.append(lo)
                self._hi.append(hi)
        self._samples += len(batch)
        self._values += batch.size // max(1, lo.size)

    def bounds(
        self, margin: Margin, rounding: Bits | None, names: tuple[str, ...]
    ) -> tuple[Ints, Ints]:
        """(lo, hi), with size 1 on the other axes, widened by a margin and by 1 for rounding.

        rounding: bits of the range that will be kept in the layer of these names.
        """
        lo, hi = np.min(self._lo, axis=0), np.max(self._hi, axis=0)
        width = (hi - lo).astype(np.float64)
        below = above = margin
        if margin == "auto":
            kept = math.log2(width.max(initial=1.0))
            if rounding is not None:
                kept = min(kept, bits_for(rounding, names, "rounding"))
            below, above = self._margins(width, kept)
        return (
            lo - np.ceil(width * below).astype(np.int64) - 1,
            hi + np.ceil(width * above).astype(np.int64) + 1,
        )

    def _margins(self, width: Array, bits: float) -> tuple[float, float]:
        """The margins, below and above, at which the least mean squared error is expected.

        Rounding to cells of 2^-bits of the range errs by a twelfth of a cell's square, wrapping by
        the square of the range. How often values reach beyond a margin follows from how far the
        ends move from a quarter of the values to all n of them: as sqrt(log n), a normal tail.
        """
        if self._samples < 4 * FOLDS or not width.any():
            return UNKNOWN, UNKNOWN
        wraps = 2.0**-DOUBLINGS / self._values
        normal = np.sqrt(math.log(self._values) + math.log(2) * DOUBLINGS)
        before = math.sqrt(math.log(self._values / FOLDS))
        best = []
        for ends in (-np.stack(self._lo), np.stack(self._hi)):
            moved = (ends.max(0) - ends.mean(0))[width > 0] / width[width > 0]
            margins = float(moved.mean()) / (normal[0] - before) * (normal - normal[0])
            losses = (1 + 2 * margins) ** 2 / 12 / 4.0**bits + wraps
            best.append(min(float(margins[np.argmin(losses)]), UNKNOWN))
        return best[0], best[1]


def extremes(array: Array, axes: Sequence[int]) -> tuple[Ints, Ints]:
    """Least and greatest values [*shape] along `axes`, of an array (samples, *shape)."""
    others = tuple(i for i in range(array.ndim) if i - 1 not in axes)
    return array.min(others, keepdims=True)[0], array.max(others, keepdims=True)[0]
