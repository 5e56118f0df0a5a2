"""The integer weights of a sum of layers, fitted to what it should give on sample inputs.

All arrays are real numbers: weights [outputs, inputs], values [rows, outputs]. What is fitted are
variations about the mean; the mean is met by a constant afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lutra.ir import arith
from lutra.ir.ops import MatMul
from lutra.ir.types import Array
from lutra.passes.error_compensation import Limits, descend, losses, round_compensated, taken
from lutra.passes.layers import Layer

ROWS = 16384
"""Input vectors of a layer that it is fitted on."""
ELEMENTS = 1 << 25
"""Numbers in these input vectors together."""
MOST_INPUTS = 8192
"""Inputs of a layer up to which it is known what varies with what; above, weights are rounded to
nearest."""
RIDGES = (3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0)
"""Shares of the inputs' mean variance by which corrections of weights are damped."""


def columns(op: Layer, x: Array) -> Array:
    """Inputs [groups, rows, inputs of a channel] of a layer, for x (samples, *shape)."""
    if isinstance(op, MatMul):
        return x.reshape(1, -1, x.shape[-1])
    flat = x.reshape(-1, *x.shape[2:])
    windows = arith.conv_windows(flat, op.w.shape[2:], op.strides, op.dilations)
    space = len(op.strides)
    channels_first = windows.transpose(1, 0, *range(2, windows.ndim))
    taps = int(np.prod(windows.shape[2 + space :]))
    rows = int(np.prod(channels_first.shape[1 : 2 + space]))
    grouped = channels_first.reshape(op.group, op.w.shape[1], rows, taps)
    return np.asarray(grouped.transpose(0, 2, 1, 3).reshape(op.group, rows, -1))


def thinned(rows: int, inputs: int) -> slice:
    """Which of so many rows to keep."""
    kept = max(1, min(ROWS, ELEMENTS // max(1, inputs)))
    return slice(None, None, max(1, -(-rows // kept)))


class LayerFit:
    """One layer of a sum; its channels may read their inputs in groups.

    x: inputs [groups, rows, inputs]. reach: how far each comes above and below 0
        [groups, 2, inputs].
    """

    def __init__(self, weights: Array, x: Array, reach: Array) -> None:
        self.weights = np.asarray(weights, np.float64)
        x = x.astype(np.float64)
        self.x = x - x.mean(1, keepdims=True)
        self.simple = x.shape[2] > MOST_INPUTS
        self.covariances = [self._covariance(group) for group in self.x]
        self.bounds = np.asarray(reach, np.float64)
        self.integers = np.zeros_like(self.weights)

    def _covariance(self, x: Array) -> Array:
        """What varies with what among the inputs of a group; nothing where that is too much."""
        return np.zeros((0, 0)) if self.simple else np.asarray(x.T @ x / max(1, len(x)))

    def parts(self, limits: Limits) -> Iterator[tuple[slice, Array, Limits]]:
        """For each group: its outputs, what varies with what among its inputs, their limits."""
        size = len(self.weights) // len(self.x)
        for group, covariance in enumerate(self.covariances):
            rows = slice(group * size, (group + 1) * size)
            yield rows, covariance, limits.rows(rows, self.bounds[group])

    def size(self) -> Array:
        """What the weights take of room upwards and downwards [2, outputs]."""
        each = np.repeat(self.bounds, len(self.weights) // len(self.x), 0)
        return np.asarray(taken(self.weights, each.swapaxes(0, 1)).sum(-1))

    def reach(self, limits: Limits) -> Array:
        """The least 1 / factor [outputs] at which no weight is clipped."""
        up = self.weights.max(1, initial=0.0) / np.maximum(limits.hi, 1e-9)
        down = -self.weights.min(1, initial=0.0) / np.maximum(-limits.lo, 1e-9)
        return np.asarray(np.maximum(np.maximum(up, down), 1e-12))

    def output(self, weights: Array) -> Array:
        size = len(self.weights) // len(self.x)
        grouped = weights.reshape(len(self.x), size, -1).swapaxes(1, 2)
        return np.asarray(np.concatenate(list(self.x @ grouped), 1))

    def correct(self, missing: Array) -> None:
        """Change the weights to give more of what is missing."""
        size = len(self.weights) // len(self.x)
        parts = np.split(missing, len(self.x), 1)
        found = [ridge(x, part).T for x, part in zip(self.x, parts, strict=True)]
        self.weights = self.weights + np.concatenate(found).reshape(len(self.x) * size, -1)

    def losses(self, factor: Array, limits: Limits) -> Array:
        """Variance [outputs] lost where factor * weights are rounded to nearest."""
        wanted = self.weights * factor[:, None]
        found = np.empty(len(wanted))
        for (rows, covariance, part), x in zip(self.parts(limits), self.x, strict=True):
            found[rows] = losses(wanted[rows] - part.nearest(wanted[rows]), covariance, x)
        return np.asarray(found / factor**2)

    def round(self, factor: Array, limits: Limits, compensate: bool = True) -> None:
        """Set the integers for factor * weights."""
        wanted = self.weights * factor[:, None]
        for (rows, covariance, part), x in zip(self.parts(limits), self.x, strict=True):
            if compensate and not self.simple:
                rounded = round_compensated(wanted[rows], covariance, part, x)
                self.integers[rows] = descend(wanted[rows], rounded, covariance, part)
            else:
                self.integers[rows] = part.nearest(wanted[rows])

    def products(self) -> tuple[Array, Array]:
        """Covariance with the wanted output, and variance, of what the integers give [outputs]."""
        both = np.empty((2, len(self.weights)))
        parts = self.parts(Limits.none(len(self.weights)))
        for (rows, covariance, _), x in zip(parts, self.x, strict=True):
            integers, weights = self.integers[rows], self.weights[rows]
            few = len(x) < x.shape[1]
            moved = (integers @ x.T) @ x / len(x) if few else integers @ covariance
            both[0, rows] = (moved * weights).sum(1)
            both[1, rows] = (moved * integers).sum(1)
        return both[0], both[1]


@dataclass
class SumFit:
    """Layers and fixed integers that add up.

    fixed: values [rows, outputs], with the factors [outputs] by which they are wanted and how far
        they come above and below 0 [2, outputs]. target: what the sum should give.
    """

    layers: Sequence[LayerFit]
    fixed: Sequence[tuple[Array, Array, Array]]
    target: Array

    def correct(self) -> None:
        """Let layers make up for what their inputs, and the other terms, lack of the target."""
        for layer in self.layers:
            layer.correct(self.target - self.output())

    def output(self) -> Array:
        total = np.zeros_like(self.target)
        for layer in self.layers:
            total += layer.output(layer.weights)
        for value, factor, _ in self.fixed:
            total += (value - value.mean(0)) * factor
        return total

    def rounded(self, factor: Array) -> Array:
        """What the sum gives with its integers, with the mean of the fixed values."""
        total = np.zeros_like(self.target)
        for layer in self.layers:
            total += layer.output(layer.integers)
        for (value, _, _), k in zip(self.fixed, self.fixed_factors(factor), strict=True):
            total += value * k
        return total

    def fixed_factors(self, factor: Array) -> list[Array]:
        """The integers [outputs] that fixed values are multiplied by."""
        return [np.sign(k) * np.maximum(np.rint(np.abs(k) * factor), 1.0) for _, k, _ in self.fixed]

    def _shares(self, factor: Array, limits: Limits) -> list[Limits]:
        """The layers' own limits: what fixed values leave of the room, by the weights' sizes."""
        if limits.room is None:
            return [limits] * len(self.layers)
        left = limits.room.astype(np.float64)
        for (_, _, reach), k in zip(self.fixed, self.fixed_factors(factor), strict=True):
            left = left - taken(k, reach)
        sizes = np.stack([layer.size() for layer in self.layers])
        shares = sizes / np.maximum(sizes.sum(0), 1e-30)
        return [replace(limits, room=np.floor(left * share)) for share in shares]

    def losses(self, factor: Array, limits: Limits) -> Array:
        """Variance [outputs] lost by rounding all to nearest, infinite where there is no room."""
        found = np.zeros(len(factor))
        for (value, k, _), whole in zip(self.fixed, self.fixed_factors(factor), strict=True):
            found += value.var(0) * (whole / factor - k) ** 2
        for layer, own in zip(self.layers, self._shares(factor, limits), strict=True):
            found += layer.losses(factor, own)
            if own.room is not None:
                found[(own.room < 0).any(0)] = np.inf
        return found

    def negative_share(self) -> Array:
        """Where 0 lies between the least and the largest weight of each output, 0 to 1."""
        low = np.max([-layer.weights.min(1, initial=0.0) for layer in self.layers], axis=0)
        high = np.max([layer.weights.max(1, initial=0.0) for layer in self.layers], axis=0)
        return np.asarray(low / np.maximum(low + high, 1e-12))

    def snapped(self, factor: Array, how: Callable[[Array], Array] = np.rint) -> Array:
        """The nearest factors by which the largest fixed value becomes a multiple of itself."""
        if not self.fixed:
            return factor  # of which zeros are left at zero
        weight = [np.abs(k) * value.std() for value, k, _ in self.fixed]
        k = np.abs(self.fixed[int(np.argmax([w.max() for w in weight]))][1])
        return np.where(k > 0, np.maximum(how(factor * k), 1.0) / np.maximum(k, 1), factor)

    def search(
        self, limits: Sequence[Limits], shrinks: Array, common: bool
    ) -> tuple[Array, Limits, Array]:
        """The factors, and limits, of least loss; for all outputs one factor if `common`."""
        outputs = self.target.shape[1]
        best = np.full(outputs, np.inf)
        factor, chosen = np.ones(outputs), limits[0]
        for option in limits:
            largest = np.max([layer.reach(option) for layer in self.layers], axis=0)
            if common:
                largest = np.full(outputs, largest.max())
            for shrink in shrinks:
                tried = self.snapped(shrink / largest)
                found = self.losses(tried, option)
                if common:
                    found = np.full(outputs, found.sum())
                better = found < best
                best, factor = np.where(better, found, best), np.where(better, tried, factor)
                chosen = chosen.mixed(option, better)
        return factor, chosen, best

    def round(self, factor: Array, limits: Limits, compensate: bool) -> None:
        for layer, own in zip(self.layers, self._shares(factor, limits), strict=True):
            layer.round(factor, own, compensate)

    def reduced(self, factor: Array) -> Array:
        """Divide each output's integers by what divides them all; the factors that are left."""
        numbers = [layer.integers for layer in self.layers]
        numbers += [k[:, None] for k in self.fixed_factors(factor)]
        whole = np.concatenate(numbers, 1).astype(np.int64)
        divisor = np.maximum(np.gcd.reduce(whole, axis=1), 1)
        for layer in self.layers:
            layer.integers = layer.integers / divisor[:, None]
        return np.asarray(factor / divisor)

    def scale(self, factor: Array) -> Array:
        """The factors that the integers stand for best; those given, where values are fixed."""
        if self.fixed:
            return factor
        both, own = np.sum([layer.products() for layer in self.layers], axis=0)
        return np.where((both > 0) & (own > 0), own / np.where(both > 0, both, 1.0), factor)


def ridge(x: Array, y: Array) -> Array:
    """Coefficients [inputs, outputs] by which x [rows, inputs] explains y [rows, outputs].

    Least squares, damped by as much as serves the second half of the rows best when fitted on the
    first; zeros if nothing helps there.
    """
    half = len(x) // 2
    y = y - y.mean(0)
    if half < 2:
        return np.zeros((x.shape[1], y.shape[1]))
    first, second = (slice(0, half), slice(half, None))
    solve, best, chosen = _solver(x[first], y[first]), 0.0, None
    for share in RIDGES:
        given = x[second] @ solve(share)
        # how much the squares of y on the second half change where this is taken off
        change = float((given * (given - 2 * y[second])).sum())
        if change < best:
            best, chosen = change, share
    if chosen is None:
        return np.zeros((x.shape[1], y.shape[1]))
    return _solver(x, y)(chosen)


def _solver(x: Array, y: Array) -> Callable[[float], Array]:
    """Gives the coefficients for a share, by a system of as many equations as rows or inputs.

    (x'x + d)^-1 x'y is x'(xx' + d)^-1 y, whichever is smaller.
    """
    if len(x) < x.shape[1]:
        gram = x @ x.T
        return lambda share: x.T @ _solve(gram, y, share * np.trace(gram) / x.shape[1])
    gram, cross = x.T @ x, x.T @ y
    return lambda share: _solve(gram, cross, share * np.trace(gram) / x.shape[1])


def _solve(gram: Array, right: Array, damping: float) -> Array:
    return np.asarray(np.linalg.solve(gram + (damping or 1.0) * np.eye(len(gram)), right))
