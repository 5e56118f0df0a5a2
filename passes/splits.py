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
    unique, which = np.unique(table.reshape(-1, 1 << n), axis=0, return_inverse=True)
    found = _best(unique, coarse)
    shifts, levels, window, middle = (
        part[which.reshape(-1)].reshape((*lead, *part.shape[1:]))
        for part in (found.shifts, found.levels, found.window, found.middle)
    )
    return Split(shifts, levels, window, middle, n - coarse + 2, int(found.error.max()))


@dataclass(frozen=True)
class _Splits:
    """A split for each of some tables [rows]."""

    shifts: Ints
    levels: Ints
    window: Ints
    middle: Ints
    error: Ints


def _best(tables: Ints, coarse: int) -> _Splits:
    """For each table [rows, 2^n] the best kink's split; of equals the first."""
    first, *others = (_at(tables, coarse, kinks) for kinks in _kinks(tables, coarse).T)
    best = first
    for found in others:
        better = found.error < best.error
        pairs = zip(vars(found).values(), vars(best).values(), strict=True)
        best = _Splits(
            *(np.where(better.reshape(-1, *(1,) * (a.ndim - 1)), a, b) for a, b in pairs)
        )
    return best


def _kinks(tables: Ints, coarse: int) -> Ints:
    """Where kinks may be: near where slopes over one cell change most, or in the middle."""
    n = tables.shape[-1]
    cell = n >> coarse
    i = np.arange(n)
    left, right = np.maximum(i - cell, 0), np.minimum(i + cell, n - 1)
    bend = np.abs(tables[:, right] - 2 * tables + tables[:, left])
    bend[:, :cell] = bend[:, n - cell :] = 0
    peak = bend.argmax(-1)[:, None]
    near = np.clip(peak + np.arange(-CANDIDATES, CANDIDATES + 1), 0, n - 1)
    return np.sort(np.concatenate([np.full_like(peak, n // 2), near], axis=1), axis=1)


def _at(tables: Ints, coarse: int, kinks: Ints) -> _Splits:
    """The splits of tables [rows, 2^n] with their kinks at these indices, [rows]."""
    n = tables.shape[-1]
    digits, cell = 1 << coarse, n >> coarse
    h = np.arange(digits + 1)
    i = (h[:, None] - 1) * cell + np.arange(2 * cell)  # all that may be read as h
    inside = (i >= 0) & (i < n)
    near = np.clip(kinks[:, None] + np.arange(-2 * cell, 2 * cell), 0, n - 1)
    window = np.take_along_axis(tables, near, -1)
    wanted = tables[:, np.clip(i, 0, n - 1)]
    rows = np.arange(len(tables))[:, None, None]
    options = []
    for move in ((h + 1) * cell, (h - 1) * cell, kinks[:, None]):
        shift = np.broadcast_to(move, (len(tables), digits + 1))
        place = i - shift[..., None] + 2 * cell
        reached = (place >= 0) & (place < 4 * cell)
        rest = wanted - window[rows, np.clip(place, 0, 4 * cell - 1)]
        low = np.where(inside, rest, FAR).min(-1)
        high = np.where(inside, rest, -FAR).max(-1)
        fits = (reached | ~inside).all(-1)
        options.append((shift, low, high, np.where(fits, high - low, FAR)))
    best = np.stack([spread for *_, spread in options]).argmin(0)
    shift, low, high, spread = (np.choose(best, part) for part in zip(*options, strict=True))
    level = (low + high) >> 1
    level[:, -1] += (level[:, 0] + level[:, -1]) & 1  # their mean is a whole number then
    ends, base = shift[:, 0] + shift[:, -1], (level[:, 0] + level[:, -1]) // 2
    whole = (spread.max(-1) < FAR) & (ends % 2 == 0)
    error = np.maximum(high - level, level - low).max(-1)
    return _Splits(
        shifts=shift[:, :-1] - ends[:, None] // 2,
        levels=level[:, :-1] - base[:, None],
        window=window + base[:, None],
        middle=ends // 2,
        error=np.where(whole, error, FAR),
    )
