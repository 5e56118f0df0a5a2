"""Large tables as sums of small ones: a coarse digit, and a window around the kink.

Let i be the index into a table t of 2^n entries, h = round(i / 2^k) its coarse digit, from 0 to
2^c with c = n - k, and one cell 2^k steps of i. Split(i) = T(h) + g(i - V(h)), where g is the table
within two cells of its kink b, and V and T are, for each h, the best of

    left     V = (h + 1) cells, so that i - V lies left of the kink,   -2 to 0 cells;
    right    V = (h - 1) cells, so that i - V lies right of the kink,   0 to 2 cells;
    centre   V = b, if i lies within two cells of the kink.

h may be taken for a neighbour while i is within half a cell of the boundary; all i within one cell
of h's middle are counted, therefore, when T(h) is chosen and the error found.

h = 2^c is one more than c bits can tell. Look-ups are negacyclic: there they give -V(0) and -T(0).
So both tables are shifted by the mean of their values at the two ends, which must be whole, and
which g's place and values take back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lutra.ir.types import Ints

FAR = 1 << 60
"""Stands for the error where no split is possible."""

CANDIDATES = 4
"""Steps around the sharpest bend in which the kink is looked for."""


@dataclass(frozen=True)
class Split:
    """Tables for each channel [...] of the table that was split.

    shifts: [..., 2^c] V, shifted.
    levels: [..., 2^c] T, shifted.
    window: [..., 2^fine_bits] g, from two cells below the kink.
    middle: [...] by how much V was shifted.
    fine_bits: of the window: k + 2.
    error: greatest difference from the table, over all channels and possible inputs.
    """

    shifts: Ints
    levels: Ints
    window: Ints
    middle: Ints
    fine_bits: int
    error: int


def split(table: Ints, coarse: int) -> Split:
    """The best split of tables [..., 2^n] with a coarse digit of so many bits, at most n - 1."""
    lead, n = table.shape[:-1], table.shape[-1].bit_length() - 1
    rows = table.reshape(-1, table.shape[-1])
    unique, which = np.unique(rows, axis=0, return_inverse=True)
    found = [_row(row, coarse) for row in unique]
    each = [found[i] for i in which.reshape(-1)]

    def stacked(name: str) -> Ints:
        values = np.stack([getattr(part, name) for part in each])
        return np.asarray(values.reshape((*lead, *values.shape[1:])))

    return Split(
        stacked("shifts"),
        stacked("levels"),
        stacked("window"),
        stacked("middle"),
        n - coarse + 2,
        max(part.error for part in found),
    )


def _row(t: Ints, coarse: int) -> Split:
    """The best split of one table [2^n]."""
    return min((_at(t, coarse, kink) for kink in _kinks(t, coarse)), key=lambda s: s.error)


def _kinks(t: Ints, coarse: int) -> list[int]:
    """Where the kink may be: near where slopes over one cell change most, or in the middle."""
    n = len(t)
    cell = n >> coarse
    i = np.arange(n)
    bend = t[np.minimum(i + cell, n - 1)] - 2 * t + t[np.maximum(i - cell, 0)]
    bend[:cell] = bend[n - cell :] = 0
    peak = int(np.abs(bend).argmax())
    near = range(max(0, peak - CANDIDATES), min(n, peak + CANDIDATES + 1))
    return sorted({n // 2, *near})


def _at(t: Ints, coarse: int, kink: int) -> Split:
    """The split of one table [2^n] with its kink at an index."""
    n = len(t)
    digits, cell = 1 << coarse, n >> coarse
    h = np.arange(digits + 1)[:, None]
    i = (h - 1) * cell + np.arange(2 * cell)  # all that may be read as h
    inside = (i >= 0) & (i < n)
    window = t[np.clip(kink + np.arange(-2 * cell, 2 * cell), 0, n - 1)]
    wanted = t[np.clip(i, 0, n - 1)]
    options = []
    for shift in ((h + 1) * cell, (h - 1) * cell, np.full_like(h, kink)):
        place = i - shift + 2 * cell
        reached = (place >= 0) & (place < 4 * cell)
        rest = wanted - window[np.clip(place, 0, 4 * cell - 1)]
        low = np.where(inside, rest, rest.max()).min(-1)
        high = np.where(inside, rest, rest.min()).max(-1)
        fits = (reached | ~inside).all(-1)
        options.append((shift[:, 0], low, high, np.where(fits, high - low, FAR)))
    best = np.stack([spread for *_, spread in options]).argmin(0)
    shift, low, high, spread = (np.choose(best, part) for part in zip(*options, strict=True))
    level = (low + high) >> 1
    level[-1] += (level[0] + level[-1]) & 1  # their mean is a whole number then
    ends, base = shift[0] + shift[-1], (level[0] + level[-1]) // 2
    whole = spread.max() < FAR and ends % 2 == 0
    error = np.maximum(high - level, level - low).max() if whole else FAR
    return Split(
        shifts=shift[:-1] - ends // 2,
        levels=level[:-1] - base,
        window=window + base,
        middle=np.asarray(ends // 2),
        fine_bits=(4 * cell).bit_length() - 1,
        error=int(error),
    )
