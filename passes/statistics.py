"""Statistics of tensors: gathered in one pass over the data, in shards that merge.

What is gathered depends on the data alone, not on how they were cut into batches and shards, nor on
the order of these: merged statistics are equal to those of one pass, bit by bit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from lutra.ir.types import Array, Ints

BINS = 4096
"""Bins of a histogram, of which the data reach at least half."""
FINEST = -126
"""The smallest binary exponent of a bin's width: that of float32."""
DIGITS = 40
"""Bins are at least 2^-DIGITS of the largest magnitude wide, so that their numbers are exact."""

S = TypeVar("S", bound="Statistic")


class Statistic(ABC):
    """What is known of a tensor's values after some batches of samples.

    axes: axes of a sample along which statistics are kept apart, such as (0,) for the channels of a
        sample (C, H, W); none of them: one statistic of the whole tensor. Results have one row for
        each combination of indices along these axes, in C order: one in all for a whole tensor.
    """

    def __init__(self, axes: Sequence[int] = ()) -> None:
        self.axes = tuple(axes)

    @abstractmethod
    def update(self, batch: Array) -> None:
        """Take in the values of a batch (samples, *shape)."""

    @abstractmethod
    def merge(self: S, other: S) -> None:
        """Take in what `other` has seen."""

    def rows(self, batch: Array) -> Array:
        """The values of a batch as [rows, values of each]."""
        kept = [axis + 1 for axis in self.axes]
        count = int(np.prod([batch.shape[axis] for axis in kept], dtype=np.int64))
        return np.moveaxis(batch, kept, range(len(kept))).reshape(count, -1)


class Extremes(Statistic):
    """The smallest and the largest values, `lo` and `hi` [rows]; infinite before the first."""

    def __init__(self, axes: Sequence[int] = ()) -> None:
        super().__init__(axes)
        self.lo: Array = np.array([np.inf])
        self.hi: Array = np.array([-np.inf])

    def update(self, batch: Array) -> None:
        rows = self.rows(batch)
        if rows.size:
            self._widen(rows.min(1), rows.max(1))

    def merge(self, other: Extremes) -> None:
        self._widen(other.lo, other.hi)

    def _widen(self, lo: Array, hi: Array) -> None:
        self.lo, self.hi = np.minimum(self.lo, lo), np.maximum(self.hi, hi)


class Histogram(Statistic):
    """Counts of values in bins whose width doubles whenever the values leave their reach.

    Bin j of row r holds the values within [origin[r] + j, origin[r] + j + 1) * 2^exponent[r]. Bins
    lie on multiples of their width, which is a power of two: those of twice the width are pairs of
    them, so that the counts are exact after any number of doublings and merges. (TensorRT's and
    onnxruntime's calibrators double as well, from bins that depend on the first batch.)

    counts: [rows, BINS]. extremes: exact smallest and largest values.
    """

    def __init__(self, axes: Sequence[int] = ()) -> None:
        super().__init__(axes)
        self.extremes = Extremes(axes)
        self.counts: Ints = np.zeros((1, BINS), np.int64)
        self.origin: Ints = np.zeros(1, np.int64)
        self.exponent: Ints = np.full(1, FINEST, np.int64)

    def update(self, batch: Array) -> None:
        rows = self.rows(batch).astype(np.float64, copy=False)
        if not rows.size:
            return
        self.extremes.update(batch)
        self._cover()
        bins = np.floor(np.ldexp(rows, -self.exponent[:, None])).astype(np.int64)
        bins += (np.arange(len(rows)) * BINS - self.origin)[:, None]
        self.counts += np.bincount(bins.reshape(-1), minlength=self.counts.size).reshape(-1, BINS)

    def merge(self, other: Histogram) -> None:
        if np.isinf(other.extremes.lo).any():
            return
        self.extremes.merge(other.extremes)
        self._cover()
        self.counts += other._rebinned(self.origin, self.exponent)

    def centres(self) -> Array:
        """The middle of each bin [rows, BINS], within the extremes."""
        middle = self.origin[:, None] + np.arange(BINS) + 0.5
        lo, hi = (np.asarray(e, np.float64)[:, None] for e in (self.extremes.lo, self.extremes.hi))
        return np.asarray(np.clip(np.ldexp(middle, self.exponent[:, None]), lo, hi))

    def _cover(self) -> None:
        """Double the bins' widths until the bins reach from the smallest to the largest value."""
        lo, hi = (np.asarray(e, np.float64) for e in (self.extremes.lo, self.extremes.hi))
        exponent = _exponents(lo, hi)
        origin = np.floor(np.ldexp(lo, -exponent)).astype(np.int64)
        self.counts = self._rebinned(origin, exponent)
        self.origin, self.exponent = origin, exponent

    def _rebinned(self, origin: Ints, exponent: Ints) -> Ints:
        """The counts in bins that are as wide or wider, and hold all values."""
        rows = len(origin)
        counts = np.zeros(rows * BINS, np.int64)
        which, bins = np.nonzero(self.counts)
        doublings = exponent[which] - self.exponent[which]
        moved = (self.origin[which] + bins) >> np.minimum(doublings, 62)
        np.add.at(counts, which * BINS + moved - origin[which], self.counts[which, bins])
        return counts.reshape(rows, BINS)


def _exponents(lo: Array, hi: Array) -> Ints:
    """The least exponents of bin widths at which BINS bins reach from lo to hi."""
    largest = _exponent(np.maximum(np.abs(lo), np.abs(hi))) - DIGITS
    width = _exponent(hi - lo) - BINS.bit_length()
    exponents = np.maximum(np.maximum(largest, width), FINEST)
    while True:
        first, last = (np.floor(np.ldexp(end, -exponents)) for end in (lo, hi))
        short = last - first >= BINS
        if not short.any():
            return np.asarray(exponents)
        exponents = exponents + short


def _exponent(x: Array) -> Ints:
    """The e with 2^(e - 1) <= x < 2^e, very small for 0."""
    return np.where(x > 0, np.frexp(x)[1], -(1 << 20)).astype(np.int64)
