"""What is measured and what follows from it. Pure: nothing here runs a model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

TOLERANCE = 0.01
"""How far below float accuracy a configuration may lie."""

EPSILON = 1e-9
"""Accuracies are shares of some hundred samples: differences below this are none."""


@dataclass(frozen=True)
class Point:
    """One configuration of one side.

    label: Concrete ML's settings, or Lutra's pipeline.
    accuracy: on the test set, of the quantized model; with look-up errors where it is Lutra's.
    clear: Lutra's without look-up errors.
    price: the optimizer's complexity; none where the configuration was not compiled, or fails.
    bits: widths of look-ups. compile: seconds.
    """

    label: str
    accuracy: float | None
    price: float | None = None
    p_error: float | None = None
    pbs: int | None = None
    bits: str = ""
    compile: float | None = None
    error: str = ""
    clear: float | None = None


@dataclass(frozen=True)
class Speed:
    """Processor seconds: of compiling to an executable, of predicting the test set in the clear,
    and of simulating one sample."""

    compile: float
    clear: float
    simulate: float


@dataclass(frozen=True)
class Encrypted:
    """Really encrypted runs: seconds of key generation and, as median, of a sample."""

    label: str
    price: float
    keygen: float
    sample: float
    right: int
    samples: int


@dataclass
class Side:
    """All that was measured of Lutra or of Concrete ML on one model.

    offers: those of `points` among which the test set chooses; none stands for all.
    tuning: processor seconds that it took to find them.
    """

    points: list[Point] = field(default_factory=list)
    offers: list[Point] | None = None
    tuning: float | None = None
    speed: Speed | None = None
    encrypted: Encrypted | None = None


@dataclass
class Row:
    """One model."""

    model: str
    accuracy: float
    lutra: Side = field(default_factory=Side)
    peer: Side = field(default_factory=Side)
    same_settings: str = ""

    @property
    def linear(self) -> bool:
        """Whether Lutra needs no look-up: such models stay out of means of prices."""
        return any(point.pbs == 0 for point in self.lutra.points)

    def choice(self, side: Side, p_error: float | None = None) -> Point | None:
        """What a side offers at most at that p_error: the cheapest that keeps the accuracy.

        Where nothing does, the most accurate.
        """
        offers = side.points if side.offers is None else side.offers
        fit = [point for point in offers if within(point, p_error)]
        best = cheapest(fit, self.accuracy - TOLERANCE)
        return best or max(fit, key=lambda point: point.accuracy or 0.0, default=None)

    def best(self, side: Side, p_error: float | None = None) -> Point | None:
        """What a side offers, if it keeps the accuracy."""
        choice = self.choice(side, p_error)
        return None if choice is None else cheapest([choice], self.accuracy - TOLERANCE)

    def gain(self, p_error: float | None = None) -> float | None:
        """Price of Concrete ML over that of Lutra, where both keep the accuracy."""
        mine, theirs = self.best(self.lutra, p_error), self.best(self.peer, p_error)
        if mine is None or theirs is None or not mine.price or theirs.price is None:
            return None
        return theirs.price / mine.price


@dataclass(frozen=True)
class Bar:
    """A claim: `value` is to be at least `least`; none where it was not measured."""

    name: str
    least: float
    value: float | None

    @property
    def met(self) -> bool | None:
        return None if self.value is None else self.value >= self.least


def within(point: Point, p_error: float | None) -> bool:
    """Whether a point has a price and at most that p_error; none is no limit."""
    if point.price is None:
        return False
    return p_error is None or (point.p_error or 0.0) <= p_error * (1 + EPSILON)


def cheapest(points: Iterable[Point], accuracy: float) -> Point | None:
    """The point of least price with at least that accuracy."""
    fit = [
        point
        for point in points
        if point.price is not None and (point.accuracy or 0.0) >= accuracy - EPSILON
    ]
    return min(fit, key=lambda point: point.price or 0.0, default=None)


def geometric_mean(values: Sequence[float]) -> float | None:
    """None of no values."""
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


STRICT = 2.0**-40
"""The p_error of the first comparison of prices: Concrete ML's default."""


def price_gains(rows: Iterable[Row], p_error: float | None) -> list[float]:
    """Of the models with look-ups on which both sides keep the accuracy."""
    gains = (row.gain(p_error) for row in rows if not row.linear)
    return [gain for gain in gains if gain is not None]


def speed_gains(rows: Iterable[Row], what: Callable[[Speed], float]) -> list[float]:
    """Seconds of Concrete ML over those of Lutra."""
    pairs = ((row.peer.speed, row.lutra.speed) for row in rows)
    return [what(theirs) / what(mine) for theirs, mine in pairs if theirs and mine]


def realised(row: Row) -> float | None:
    """Share of the predicted gain in price that the encrypted seconds show."""
    mine, theirs = row.lutra.encrypted, row.peer.encrypted
    if mine is None or theirs is None:
        return None
    return (theirs.sample / mine.sample) / (theirs.price / mine.price)


def found_alone(rows: Iterable[Row]) -> float | None:
    """Share of the models on which Concrete ML finds nothing that Lutra finds something for."""
    alone = [row.best(row.lutra) is not None for row in rows if row.best(row.peer) is None]
    return sum(alone) / len(alone) if alone else None


def bars(rows: Sequence[Row]) -> list[Bar]:
    """The claims, in the order in which they are shown."""
    strict, free = price_gains(rows, STRICT), price_gains(rows, None)
    found = [
        Bar("price at p_error 2^-40, geometric mean", 6.0, geometric_mean(strict)),
        Bar("price at any p_error, geometric mean", 3.0, geometric_mean(free)),
        Bar("price, worst model", 1.0, min(strict + free, default=None)),
        Bar("models within 1 point where Concrete ML finds none", 1.0, found_alone(rows)),
    ]
    for name, least, what in (
        ("compile at the same settings", 5.0, lambda speed: speed.compile),
        ("predict a test set in the clear", 20.0, lambda speed: speed.clear),
        ("simulate", 100.0, lambda speed: speed.simulate),
    ):
        gains = speed_gains(rows, what)
        found.append(Bar(f"{name}, geometric mean", least, geometric_mean(gains)))
    for row in rows:
        share = realised(row)
        if share is not None:
            found.append(Bar(f"{row.model}: encrypted gain over predicted", 0.7, share))
    return found
