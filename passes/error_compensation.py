"""Rounding of weights with error compensation, and the search for their scales."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.linalg.blas import dger
from scipy.linalg.lapack import dtrtri

from lutra.ir.types import Array

DAMPING = 0.01
"""Share of the mean variance that is added to every input's, as in GPTQ."""
SHRINKS = np.append(np.geomspace(1.0, 4.0, 25), np.geomspace(0.95, 0.75, 5))
"""What the largest weight may be of the largest integer, when scales are searched."""
SMALLER = np.geomspace(0.7, 0.02, 30)
"""The same for integers that must stay small, to keep to the room there is."""
BLOCK = 64
"""Inputs whose errors reach those far behind together."""
MOVES = 1 << 28
"""Work, in multiplications, that is spent on single steps after rounding."""


@dataclass(frozen=True)
class Limits:
    """The integers that weights [outputs, inputs] may become.

    lo, hi: [outputs], infinite where any will do.
    room, reach: where given, what the sum of integers times inputs may come to, upwards and
        downwards [2, outputs], for inputs that reach so far above and below zero [2, inputs].
    """

    lo: Array
    hi: Array
    room: Array | None = None
    reach: Array | None = None

    @classmethod
    def none(cls, outputs: int) -> Limits:
        return cls(np.full(outputs, -np.inf), np.full(outputs, np.inf))

    def rows(self, which: slice, reach: Array | None = None) -> Limits:
        """The limits of some outputs, with the inputs' reach there."""
        room = None if self.room is None else self.room[:, which]
        return Limits(self.lo[which], self.hi[which], room, self.reach if reach is None else reach)

    def mixed(self, other: Limits, where: Array) -> Limits:
        """The other's limits for some outputs [outputs], these for the rest."""
        lo, hi = np.where(where, other.lo, self.lo), np.where(where, other.hi, self.hi)
        return Limits(lo, hi, self.room, self.reach)

    def nearest(self, weights: Array) -> Array:
        """Weights rounded to nearest within lo and hi, and moved before to keep to the room."""
        return np.clip(np.rint(self.affordable(weights)), self.lo[:, None], self.hi[:, None])

    def affordable(self, weights: Array) -> Array:
        """Real weights near these that keep to the room: some are moved towards 0.

        Upwards and downwards it is the Euclidean projection on a weighted l1 ball, as in Colbert et
        al., "AXE" (2024); a bisection finds the step.
        """
        if self.room is None or self.reach is None:
            return weights
        for room, (rising, falling) in zip(self.room, (self.reach, self.reach[::-1]), strict=True):
            weights = _projected(weights, np.where(weights > 0, rising, falling), room)
        return weights


def _projected(weights: Array, cost: Array, room: Array) -> Array:
    """The nearest weights [outputs, inputs] with sum(|weights| * cost) <= room [outputs]."""
    size = np.abs(weights)
    low = np.zeros(len(weights))
    high = (size / np.maximum(cost, 1e-9)).max(1, initial=0.0, where=cost > 0)
    for _ in range(50):
        step = (low + high) / 2
        over = (np.maximum(size - step[:, None] * cost, 0) * cost).sum(1) > room
        low, high = np.where(over, step, low), np.where(over, high, step)
    step = np.where((size * cost).sum(1) <= room, 0.0, high)
    return np.asarray(np.sign(weights) * np.maximum(size - step[:, None] * cost, 0))


def taken(integers: Array, reach: Array) -> Array:
    """What integers [..., inputs] take of the room [2, ..., inputs], upwards and downwards."""
    above, below = reach
    positive, negative = np.maximum(integers, 0), np.maximum(-integers, 0)
    return np.stack([positive * above + negative * below, positive * below + negative * above])


def losses(error: Array, covariance: Array, x: Array | None = None) -> Array:
    """Variance [outputs] that errors [outputs, inputs] of the weights make in the outputs.

    x: the inputs' variations [rows, inputs], which are taken where they are fewer.
    """
    if x is not None and len(x) < error.shape[1]:
        return np.asarray(np.square(error @ x.T).mean(1))
    return np.asarray(((error @ covariance) * error).sum(1))


def damped(covariance: Array) -> Array:
    return np.asarray(covariance + _damping(covariance) * np.eye(len(covariance)))


def _damping(covariance: Array) -> float:
    return float(DAMPING * (np.trace(covariance) / len(covariance) or 1.0))


def round_compensated(
    weights: Array, covariance: Array, limits: Limits, x: Array | None = None
) -> Array:
    """Round weights [outputs, inputs] to integers within limits.

    The inputs of largest variance are rounded first; the error of each is spread over the inputs
    still to come, in the way that disturbs the outputs' variation least (Frantar et al., "GPTQ:
    Accurate Post-Training Quantization for Generative Pre-trained Transformers", ICLR 2023). What
    is left of the room bounds each integer, as in AXE.

    x: the inputs' variations [rows, inputs], of which `covariance` is the mean product; where they
        have few rows, these are what is computed with.
    """
    order = np.argsort(-np.diag(covariance), kind="stable")
    spread: _Spread
    if x is not None and 2 * len(x) < len(covariance):
        spread = _FewRows(x[:, order], _damping(covariance))
    else:
        spread = _ManyRows(damped(covariance)[np.ix_(order, order)])
    affordable = limits.affordable(weights)[:, order].astype(np.float64)
    rest = spread.start(affordable)
    result = np.empty_like(affordable)
    left = None if limits.room is None else limits.room.astype(np.float64)
    for i, target in enumerate(order):
        wanted = rest(i)
        rounded = np.clip(np.rint(wanted), limits.lo, limits.hi)
        if left is not None and limits.reach is not None:
            reach = limits.reach[:, target]
            rounded = np.clip(rounded, -_most(left, reach[::-1]), _most(left, reach))
            left = left - taken(rounded[:, None], reach[:, None])[..., 0]
        result[:, target] = rounded
        spread.add(i, wanted - rounded)
    return result


class _Spread(Protocol):
    """Spreads rounding errors over the inputs to come."""

    def start(self, weights: Array) -> Callable[[int], Array]:
        """Gives what the weights [outputs] of an input are by then."""

    def add(self, i: int, error: Array) -> None:
        """Take in the error [outputs] of input i."""


class _ManyRows:
    """By the triangular factor of the inverse covariance; errors reach far inputs in blocks."""

    def __init__(self, covariance: Array) -> None:
        # covariance = U U' with U upper triangular, whose inverse is the factor
        lower = np.linalg.cholesky(covariance[::-1, ::-1])
        self._factor = np.asarray(dtrtri(lower[::-1, ::-1])[0])

    def start(self, weights: Array) -> Callable[[int], Array]:
        self._rest, self._errors = weights.copy(), np.zeros_like(weights)
        return lambda i: np.asarray(self._rest[:, i])

    def add(self, i: int, error: Array) -> None:
        factor, rest = self._factor, self._rest
        self._errors[:, i] = error / factor[i, i]
        end = min(len(factor), i - i % BLOCK + BLOCK)
        rest[:, i + 1 : end] -= self._errors[:, i, None] * factor[i, i + 1 : end]
        if i + 1 == end:
            block = slice(end - 1 - i % BLOCK, end)
            rest[:, end:] -= self._errors[:, block] @ factor[block, end:]


class _FewRows:
    """By the rows, where there are fewer than inputs.

    With X the inputs to come, the error e of input x adds e x'(XX' + d)^-1 X to their weights. So
    one matrix [rows, outputs] holds what is to be added, and removing an input from XX' + d
    changes its inverse by a product of vectors (Sherman and Morrison, 1950).
    """

    def __init__(self, x: Array, damping: float) -> None:
        self._x = x.T / np.sqrt(len(x))
        gram = self._x.T @ self._x + damping * np.eye(len(x))
        self._inverse = np.asfortranarray(np.linalg.inv(gram))

    def start(self, weights: Array) -> Callable[[int], Array]:
        self._added = np.zeros((self._x.shape[1], len(weights)), order="F")
        return lambda i: np.asarray(weights[:, i] + self._x[i] @ self._added)

    def add(self, i: int, error: Array) -> None:
        x = self._x[i]
        solved = self._inverse @ x
        solved /= np.sqrt(max(1 - x @ solved, 1e-12))
        self._inverse = dger(1.0, solved, solved, a=self._inverse, overwrite_a=True)
        self._added = dger(1.0, self._inverse @ x, error, a=self._added, overwrite_a=True)


def _most(left: Array, reach: Array) -> Array:
    """The largest positive integer [outputs] that the room left [2, outputs] allows."""
    per = np.where(reach > 0, reach, 1e-9)[:, None]
    return np.asarray(np.floor(np.maximum(left, 0) / per + 1e-9).min(0))


def descend(weights: Array, integers: Array, covariance: Array, limits: Limits) -> Array:
    """Move single integers by 1, for each output the one that gains most, as long as any gains."""
    covariance = damped(covariance)
    result = integers.copy()
    own = np.diag(covariance)
    error = weights - result
    slope = error @ covariance
    outputs = np.arange(len(result))
    for _ in range(min(2 * result.shape[1], max(1, MOVES // max(1, result.size * 8)))):
        # one step of +-1 changes the loss by own -+ 2 * slope
        step = np.where(slope >= 0, 1.0, -1.0)
        change = own - 2 * np.abs(slope)
        change[~_may_step(result, step, limits)] = np.inf
        best = change.argmin(1)
        better = outputs[change[outputs, best] < -1e-9 * own[best]]
        if not len(better):
            break
        where = best[better]
        by = step[better, where]
        result[better, where] += by
        slope[better] -= by[:, None] * covariance[where]
    return result


def _may_step(integers: Array, step: Array, limits: Limits) -> Array:
    moved = integers + step
    allowed = (moved >= limits.lo[:, None]) & (moved <= limits.hi[:, None])
    if limits.room is not None and limits.reach is not None:
        now = taken(integers, limits.reach)
        more = taken(moved, limits.reach) - now
        allowed &= (more <= (limits.room - now.sum(-1))[..., None]).all(0)
    return np.asarray(allowed)
