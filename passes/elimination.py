"""Which of some features a linear fit can do without.

All arrays are real numbers, [rows, ...]. What is fitted are variations about the mean; the mean is
met by a constant.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lutra.ir.types import Array, Ints
from lutra.passes.weight_fit import ridge

DAMPING = 1e-4
"""Share of the features' mean variance that is added to each, lest noise be fitted."""

NOTHING = 1e-10
"""Share of a target's squares that single-precision floats do not tell from none."""


@dataclass(frozen=True)
class Fit:
    """target ~ costly[:, kept] @ weights + free @ skip + constant.

    weights: [kept, outputs]. skip: [free features, outputs].
    """

    kept: Ints
    weights: Array
    skip: Array
    constant: Array

    def error(self, problem: Problem) -> float:
        """Mean squared error on the rows of a problem, summed up over its outputs."""
        found = problem.costly[:, self.kept] @ self.weights + problem.free @ self.skip
        return float(np.square(found + self.constant - problem.target).mean(0).sum())


@dataclass(frozen=True)
class Problem:
    """A target that is costly @ weights + constant, and features that are free of charge.

    costly: [rows, n]. free: [rows, m]. target: [rows, outputs]. weights: [n, outputs].
    stand_in: [m, n], what free @ stand_in + a constant gives in the place of costly ones, at first.
    """

    costly: Array
    free: Array
    target: Array
    weights: Array
    stand_in: Array

    def rows(self, part: slice) -> Problem:
        return Problem(
            self.costly[part], self.free[part], self.target[part], self.weights, self.stand_in
        )

    @cached_property
    def order(self) -> Ints:
        """The costly features, those first that the fit can do without most easily.

        Backward elimination: the one goes whose loss, with the others' and the free features'
        weights fitted anew, adds least to the squared error. That is |b|^2 / p for its weights b
        and its entry p on the diagonal of the inverse Gram matrix (Hassibi, Stork, "Second order
        derivatives for network pruning: optimal brain surgeon", NIPS 1992).
        """
        costly, free, target = map(_centred, (self.costly, self.free, self.target))
        gram, cross = costly.T @ costly, costly.T @ target
        if free.shape[1]:  # what the free features explain of all others
            own = _damped(free.T @ free)
            mixed = free.T @ costly
            gram = gram - mixed.T @ np.linalg.solve(own, mixed)
            cross = cross - mixed.T @ np.linalg.solve(own, free.T @ target)
        inverse = np.linalg.inv(_damped(gram))
        left, found = np.arange(len(gram)), []
        weights = inverse @ cross
        while len(left):
            diagonal = inverse.diagonal()
            out = int(np.argmin(np.square(weights).sum(1) / diagonal))
            share = inverse[:, out] / diagonal[out]
            weights = weights - np.outer(share, weights[out])
            inverse = inverse - np.outer(share, inverse[out])
            found.append(left[out])
            rest = np.arange(len(left)) != out
            left, weights, inverse = left[rest], weights[rest], inverse[np.ix_(rest, rest)]
        return np.array(found, np.int64)

    def fit(self, kept: Ints) -> Fit:
        """The fit that does with some of the costly features.

        It starts from their own weights, and from stand-ins for the others, and goes as far from
        there as half of the rows confirms for the other half.
        """
        gone = np.setdiff1d(np.arange(self.costly.shape[1]), kept)
        weights, skip = self.weights[kept], self.stand_in[:, gone] @ self.weights[gone]
        features = _centred(np.concatenate([self.costly[:, kept], self.free], 1))
        scale = features.std(0)
        scale[scale == 0] = 1.0
        given = np.concatenate([weights, skip])
        wanted = _centred(self.target)
        missing = wanted - features @ given
        if np.square(missing).sum() > NOTHING * np.square(wanted).sum():
            given = given + ridge(features / scale, missing) / scale[:, None]
        weights, skip = given[: len(kept)], given[len(kept) :]
        means = self.costly[:, kept].mean(0) @ weights + self.free.mean(0) @ skip
        return Fit(kept, weights, skip, self.target.mean(0) - means)

    def fewest(self, error: float) -> Fit:
        """The fit of fewest costly features whose error on every other row, that the fit does not
        see, is at most `error`."""
        seen, held_out = self.rows(slice(0, None, 2)), self.rows(slice(1, None, 2))
        low, high = 0, self.costly.shape[1]  # of features to keep; all are enough
        while low < high:
            middle = (low + high) // 2
            if seen.fit(self._last(middle)).error(held_out) <= error:
                high = middle
            else:
                low = middle + 1
        return self.fit(self._last(high))

    def _last(self, count: int) -> Ints:
        return np.sort(self.order[len(self.order) - count :])


def _centred(x: Array) -> Array:
    return np.asarray(x - x.mean(0))


def _damped(gram: Array) -> Array:
    """Positive definite, also where features do not vary."""
    mean = float(np.trace(gram)) / max(1, len(gram))
    return np.asarray(gram + (DAMPING * mean or 1.0) * np.eye(len(gram)))
