"""The cheapest parameters for a problem of partitions: what Concrete's optimizer looks for.

Starting from the best common parameters, one partition after the other gets the best shape, short
key and decomposition for what the others have, until nothing gets cheaper.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from lutra.backends.concrete import tfhe
from lutra.backends.concrete.partitions import Pair, Problem
from lutra.ir.types import Array

DIMENSIONS = tuple(range(512, 1281, 8))
"""Bits of the short keys that are tried. Concrete tries each number up to 2047."""
CONVERSION_LEVELS = (0, 1, 2, 4, 7)
LARGE = 15
"""log2 of the polynomials' size from where deep decompositions are worth their price."""
LONGEST = 3072
"""Bits of the longest key that is worth its price: the noise of longer ones is no less."""
ROUNDS = 4


@dataclass(frozen=True)
class Choice:
    """Parameters of one partition: indices of its shape, short key and rotation's level."""

    shape: int
    dimension: int
    level: int


@dataclass(frozen=True)
class Optimum:
    """price: of all; bootstrap: price of one in each partition, switch and conversion: by keys."""

    price: float
    bootstrap: tuple[float, ...]
    switch: Mapping[Pair, float]
    conversion: Mapping[Pair, float]


NONE = Optimum(math.inf, (), {}, {})


def cheapest(problem: Problem, security: int) -> Optimum:
    """The cheapest parameters found; of infinite price if there are none."""
    if not problem.sites:
        return Optimum(0.0, (0.0,) * problem.partitions, {}, {})
    search = _Search(problem, security)
    found = search.first_pass() or _common(problem, security)
    return NONE if found is None else _descend(search, found)


def _common(problem: Problem, security: int) -> Found | None:
    """The best parameters that all partitions may share."""
    found = _Search(problem.merged(), security).step({}, 0, {})
    if found is None:
        return None
    price, choices, _ = found
    shared = dict.fromkeys(range(problem.partitions), choices[0])
    return price, shared, dict.fromkeys(problem.conversions, 0)


def _descend(search: _Search, best: Found) -> Optimum:
    for _ in range(ROUNDS if search.problem.partitions > 1 else 0):
        before = best[0]
        for partition in reversed(range(search.problem.partitions)):
            found = search.step(best[1], partition, best[2])
            if found is not None and found[0] < best[0]:
                best = found
        if best[0] > 0.999 * before:
            break
    return search.result(*best)


Found = tuple[float, dict[int, Choice], dict[Pair, int]]


class _Search:
    """Prices of one problem's parameters."""

    def __init__(self, problem: Problem, security: int) -> None:
        self.problem = problem
        self.security = security
        self.rotations = tfhe.rotations(security)
        self.switching = tfhe.keyswitch_noise(DIMENSIONS, security)
        bits = tuple(int(d) for d in self.rotations.dimension)
        self.converting = tfhe.keyswitch_noise(bits, security)
        self._levels = slice(None)
        self.sizes = np.array(DIMENSIONS, dtype=np.float64)

    def first_pass(self) -> Found | None:
        """Choices for one partition after the other, those to come being as good as they get."""
        found: Found = (math.inf, {}, dict.fromkeys(self.problem.conversions, 2))
        for partition in reversed(range(self.problem.partitions)):
            step = self.step(found[1], partition, found[2])
            if step is None:
                return None
            found = step
        return found

    def step(
        self, choices: Mapping[int, Choice], free: int, levels: Mapping[Pair, int]
    ) -> Found | None:
        """The best choice for one partition, the others' being fixed."""
        best: Found | None = None
        tuned = dict(levels)
        mine = [pair for pair in tuned if free in pair]
        trials: list[list[dict[Pair, int]]] = [
            [{pair: n} for n in CONVERSION_LEVELS] for pair in mine
        ]
        for trial in trials or [[{}]]:
            for change in trial:
                tried = {**tuned, **change}
                total = self._grid(choices, free, tried)
                at = int(total.argmin())
                price = float(total.flat[at])
                if math.isfinite(price) and (best is None or price < best[0]):
                    shape, dimension, rotation = np.unravel_index(at, total.shape)
                    choice = Choice(int(self._shapes[shape]), int(dimension), int(rotation))
                    best = (price, {**choices, free: choice}, tried)
            if best is not None:
                tuned = dict(best[2])
        return best

    def _grid(self, choices: Mapping[int, Choice], free: int, levels: Mapping[Pair, int]) -> Array:
        """Prices [shapes, dimensions, levels] of all parameters of one partition."""
        self._shapes = self._candidates(free)
        values = {i: self._fixed(choice) for i, choice in choices.items()}
        values[free] = mine = self._values(self._shapes, slice(None), self._levels)
        for i in range(self.problem.partitions):
            values.setdefault(i, mine.idle())
        conversions = {
            pair: self._conversion(values[pair[0]], values[pair[1]], level)
            for pair, level in levels.items()
        }
        total: Array = np.zeros((1, 1, 1))
        for i, count in enumerate(self.problem.bootstraps):
            total = total + count * values[i].work
        for pair, count in self.problem.conversions.items():
            total = total + count * conversions[pair][1]
        for pair, count in self.problem.switches.items():
            room = self._room(pair, values, conversions)
            total = total + count * self._switch(values[pair[0]], values[pair[1]], room)
        total = np.where(self._room(None, values, conversions) < 0, np.inf, total)
        return np.broadcast_to(total, np.broadcast_shapes(total.shape, values[free].work.shape))

    def _room(
        self,
        pair: Pair | None,
        values: Mapping[int, _Values],
        conversions: Mapping[Pair, tuple[Array, Array]],
    ) -> Array:
        """Variance that is left for a key switch; at outputs, what is left over."""
        room: Array = np.full((1, 1, 1), np.inf)
        for bound in self.problem.bounds:
            if bound.switch != pair:
                continue
            noise: Array = np.zeros((1, 1, 1))
            for i, value in values.items():
                if bound.fresh[i]:
                    noise = noise + bound.fresh[i] * value.fresh
                if bound.rotated[i]:
                    noise = noise + bound.rotated[i] * value.noise
            for key, factor in bound.converted:
                noise = noise + factor * conversions[key][0]
            left = (1 - noise) / bound.scale
            if pair is not None:
                left = left - values[pair[1]].rounding
            room = np.minimum(room, left)
        return room

    def _switch(self, source: _Values, target: _Values, room: Array) -> Array:
        """Price of the cheapest key switch that adds no more noise than there is room for."""
        wanted = (room / source.dimension)[..., None]
        level = (target.switching > wanted).sum(-1) + 1.0
        work = tfhe.keyswitch_work(source.dimension, target.short, level)
        return np.where(level > tfhe.LEVELS, np.inf, work)

    def _conversion(self, source: _Values, target: _Values, level: int) -> tuple[Array, Array]:
        """Variance and price of a conversion; free where the shapes are equal."""
        noise = source.dimension * target.converting[..., level]
        work = tfhe.keyswitch_work(source.dimension, target.dimension, np.array(level + 1.0))
        same = source.shape == target.shape
        return np.where(same, 0.0, noise), np.where(same, 0.0, work)

    def _candidates(self, free: int) -> Array:
        """Shapes worth trying: the polynomials' size follows from the bits that are read."""
        scales = [b.scale for b in self.problem.bounds if b.switch and b.switch[1] == free]
        least = tfhe.switched_modulus(np.array(512.0), self.rotations.log2_size)
        fits = least * max(scales, default=0.0) < 1
        if not fits.any():
            return np.flatnonzero(self.rotations.k == 1)
        smallest = self.rotations.log2_size[fits].min()
        fits &= self.rotations.log2_size <= smallest + 2
        fits &= (self.rotations.dimension <= LONGEST) | (self.rotations.k == 1)
        self._levels = slice(None) if smallest + 2 > LARGE else slice(10)
        return np.flatnonzero(fits)

    def _fixed(self, choice: Choice) -> _Values:
        shapes = np.array([choice.shape])
        return self._values(
            shapes,
            slice(choice.dimension, choice.dimension + 1),
            slice(choice.level, choice.level + 1),
        )

    def _values(self, shapes: Array, dimensions: slice, levels: slice) -> _Values:
        r = self.rotations
        short = self.sizes[dimensions][None, :, None]
        along = (slice(None), None, None)
        return _Values(
            shape=shapes[along],
            short=short,
            dimension=r.dimension[shapes][along],
            fresh=r.fresh[shapes][along],
            noise=r.noise[shapes][:, None, levels] * short,
            work=r.work[shapes][:, None, levels] * short,
            rounding=tfhe.switched_modulus(short, r.log2_size[shapes][along]),
            switching=self.switching[dimensions][None, :, None, :],
            converting=self.converting[shapes][:, None, None, :],
        )

    def result(
        self, price: float, choices: Mapping[int, Choice], levels: Mapping[Pair, int]
    ) -> Optimum:
        """The parts that a price consists of."""
        values = {i: self._fixed(choice) for i, choice in choices.items()}
        conversions = {
            pair: self._conversion(values[pair[0]], values[pair[1]], level)
            for pair, level in levels.items()
        }
        switches = {
            pair: float(
                self._switch(
                    values[pair[0]], values[pair[1]], self._room(pair, values, conversions)
                ).item()
            )
            for pair in self.problem.switches
        }
        work = tuple(float(values[i].work.item()) for i in range(len(values)))
        converted = {pair: float(found[1].item()) for pair, found in conversions.items()}
        return Optimum(price, work, switches, converted)


@dataclass(frozen=True)
class _Values:
    """What parameters of one partition mean, as arrays [shapes, dimensions, levels]."""

    shape: Array
    short: Array
    dimension: Array
    fresh: Array
    noise: Array
    work: Array
    rounding: Array
    switching: Array
    converting: Array

    def idle(self) -> _Values:
        """The same with the least noise, for nothing."""
        return replace(self, noise=self.noise[..., -1:], work=np.zeros((1, 1, 1)))
