"""Cells of a look-up's input: how few tell apart what its table tells apart.

A function f of an integer x is looked up by the cell that x lies in. Cells are 2^lsbs / k wide, for
an integer k, and one of them starts at an origin. c bits tell 2^c cells apart. Look-ups are
negacyclic: beyond these cells come 2^c others, which have the same entries negated. So with m half
the sum of f at the two ends,

    f(x) = m + t[i]    in cell i,        f(x) = m - t[i]    in cell i + 2^c,

and all 2^(c+1) cells serve where f is constant far from its steps, as clipped functions are.
What is on the turn's other side of the steps is wrong, and few values should lie there.

Boundaries should lie where f has its steps: then what rounding and noise confuse are values about
which f itself is of two minds. A small k is better than a large one, as it multiplies noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from lutra.ir.types import Array, Ints

NOISE = 0.1
"""Standard deviation of a bootstrap's noise that is expected, in cells: p_error is 6e-7 then."""
WIDTHS = 64
"""Widths that are tried, evenly spaced by ratio."""
PARTS = 4
"""Cells to a step that are tried, for steps that are evenly spaced."""
FACTORS = 9
"""Factors that are tried around the one of the best width."""
RARE = 1e-3
"""Share of values at either end that the middle may leave out of account."""


@dataclass(frozen=True)
class Cells:
    """The cells of one function.

    factor: k, which with lsbs gives the cells' width 2^lsbs / k.
    origin: x where cell 0 starts.
    table: t in halves, [2^c] of which all are even or all are odd.
    middle: m in halves.
    loss: mean of the squared error that is expected.
    """

    factor: int
    origin: float
    table: Ints
    middle: int
    loss: float


@dataclass(frozen=True)
class Function:
    """An integer function to be looked up by cells.

    values: f at first, first + 1, ... [n].
    weights: how often each is expected, [n].
    """

    values: Ints
    weights: Array
    first: float = 0.0

    def cells(self, bits: int, lsbs: Sequence[int]) -> list[Cells]:
        """For each number of lsbs the cells of 2^lsbs / k that err least; as few as fit."""
        count = 1 << bits
        widths = self._widths(count)
        losses = [cells.loss for cells in self._tried(count, 1 / widths)]
        ideal = widths[np.argmin(losses) % len(widths)]
        found = []
        for n in lsbs:
            low, high = np.floor(2.0**n / ideal * 0.9), np.ceil(2.0**n / ideal * 1.1)
            factors = np.unique(np.rint(np.linspace(max(low, 1), max(high, 1), FACTORS)))
            tried = self._tried(count, factors, 2.0**n)
            found.append(min(tried, key=lambda cells: cells.loss))
        return found

    def _steps(self) -> tuple[Array, Array]:
        """Where the function changes, and by how much."""
        change = np.abs(np.diff(self.values))
        where = np.flatnonzero(change)
        return self.first + where + 0.5, change[where].astype(np.float64)

    def _widths(self, count: int) -> Array:
        """From so narrow that all steps just fit in to so wide that all values do."""
        steps, _ = self._steps()
        widest = max(1.0, len(self.values) / max(1, count - 1))
        spread = float(np.ptp(steps)) if len(steps) else 0.0
        narrowest = max(1.0, spread / count, widest / 16)
        found = np.geomspace(narrowest, max(widest, narrowest) * 1.25, WIDTHS)
        if len(steps) > 1:
            even = spread / (len(steps) - 1) / np.arange(1, PARTS + 1)
            found = np.concatenate([found, even[even >= narrowest]])
        return found

    def _middles(self) -> set[int]:
        """Twice what may lie in the middle: of all that is possible, or of nearly all there is."""
        f, reached = self.values, np.cumsum(self.weights)
        low, high = np.searchsorted(reached, np.array([RARE, 1 - RARE]) * reached[-1])
        return {int(f[0] + f[-1]), int(f[low] + f[min(high, len(f) - 1)])}

    def _tried(self, count: int, factors: Array, unit: float | None = None) -> list[Cells]:
        """Cells of unit / factor with the steps as close to boundaries as may be.

        With a unit factors are integers, and boundaries lie in the middle between two integers of
        the stretched input.
        """
        width = (1.0 if unit is None else unit) / factors
        origin = self._origins(width)
        if unit is not None:
            origin = (np.rint(factors * origin + 0.5) - 0.5) / factors
        found = []
        for middle in self._middles():
            tables, losses = self._tables(count, width, origin, middle)
            found += [
                Cells(round(k), float(o), t, middle, float(loss))
                for k, o, t, loss in zip(factors, origin, tables, losses, strict=True)
            ]
        return found

    def _origins(self, width: Array) -> Array:
        """For each width [w], where cells start by which steps lie closest to boundaries."""
        steps, heights = self._steps()
        if not len(steps):
            return np.full(len(width), self.first)
        mean = np.average(steps, weights=heights)
        middle = steps[np.argmin(np.abs(steps - mean))]
        boundary = np.rint((steps - middle) / width[:, None])
        return np.asarray(mean - width * np.average(boundary, axis=1, weights=heights))

    def _tables(self, count: int, width: Array, origin: Array, middle: int) -> tuple[Ints, Array]:
        """For widths and origins [w] the best tables [w, count] and what they lose, [w]."""
        weights = self.weights / self.weights.sum()
        wanted = self.values - middle / 2
        x = self.first + np.arange(len(self.values))
        place = (x - origin[:, None]) / width[:, None]
        cell = np.floor(place)
        below, above = ndtr((cell - place) / NOISE), ndtr((place - cell - 1) / NOISE)
        turn, row = 2 * count, np.arange(len(width))[:, None] * 2 * count
        reads = [row + ((cell.astype(np.int64) + i) % turn) for i in (-1, 0, 1)]
        shares = [weights * p for p in (below, 1 - below - above, above)]
        index, share = np.stack(reads).reshape(-1), np.stack(shares)
        mass = np.bincount(index, share.reshape(-1), row.size * turn).reshape(-1, turn)
        sums = np.bincount(index, (share * wanted).reshape(-1), row.size * turn).reshape(-1, turn)
        both = mass[:, :count] + mass[:, count:]
        difference = sums[:, :count] - sums[:, count:]
        exact = np.divide(difference, both, out=np.zeros_like(both), where=both > 0)
        odd = middle % 2
        table = 2 * np.rint(exact - odd / 2).astype(np.int64) + odd
        entry = table / 2
        gained = (both * entry**2 - 2 * entry * difference).sum(1)
        return table, float(weights @ wanted**2) + gained
