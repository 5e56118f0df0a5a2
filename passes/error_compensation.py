"""Rounding of weights with error compensation, and the search for their scales."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lutra.ir.types import Array

DAMPING = 0.01
"""Share of the mean variance that is added to every input's, as in GPTQ."""
SHRINKS = np.append(np.geomspace(1.0, 4.0, 25), np.geomspace(0.95, 0.75, 5))
"""What the largest weight may be of the largest integer, when scales are searched."""
SMALLER = np.geomspace(0.7, 0.02, 30)
"""The same for integers that must stay small, to keep to the room there is."""
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


def losses(error: Array, covariance: Array) -> Array:
    """Variance [outputs] that errors [outputs, inputs] of the weights make in the outputs."""
    return np.asarray(((error @ covariance) * error).sum(1))


def damped(covariance: Array) -> Array:
    size = len(covariance)
    return np.asarray(covariance + DAMPING * (np.trace(covariance) / size or 1.0) * np.eye(size))


def round_compensated(weights: Array, covariance: Array, limits: Limits) -> Array:
    """Round weights [outputs, inputs] to integers within limits.

    The inputs of largest variance are rounded first; the error of each is spread over the inputs
    still to come, in the way that disturbs the outputs' variation least (Frantar et al., "GPTQ:
    Accurate Post-Training Quantization for Generative Pre-trained Transformers", ICLR 2023). What
    is left of the room bounds each integer, as in AXE.
    """
    covariance = damped(covariance)
    order = np.argsort(-np.diag(covariance), kind="stable")
    spread = np.linalg.cholesky(np.linalg.inv(covariance[np.ix_(order, order)])).T
    rest = limits.affordable(weights)[:, order].astype(np.float64)
    result = np.empty_like(rest)
    left = None if limits.room is None else limits.room.astype(np.float64)
    for i, target in enumerate(order):
        rounded = np.clip(np.rint(rest[:, i]), limits.lo, limits.hi)
        if left is not None and limits.reach is not None:
            reach = limits.reach[:, target]
            rounded = np.clip(rounded, -_most(left, reach[::-1]), _most(left, reach))
            left = left - taken(rounded[:, None], reach[:, None])[..., 0]
        result[:, target] = rounded
        error = (rest[:, i] - rounded) / spread[i, i]
        rest[:, i + 1 :] -= error[:, None] * spread[i, i + 1 :]
    return result


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
