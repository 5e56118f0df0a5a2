"""Both sides on every model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.versus import ours
from benchmarks.versus.configurations import Configuration, grid, quick
from benchmarks.versus.figures import STRICT, Encrypted, Row, Speed
from benchmarks.versus.peer import CALIBRATION, Peer, Request
from benchmarks.versus.subjects import Subject

Report = Callable[[str], None]
"""Takes a line of progress."""

COMPILES = 3
"""Compilations of which the fastest counts."""


@dataclass(frozen=True)
class Plan:
    """What to measure: the short list or the whole grid, and which models really encrypted."""

    quick: bool = True
    encrypt: Sequence[str] = ()
    samples: int = 3


def compare(subject: Subject, peer: Peer, plan: Plan, report: Report) -> Row:
    """One model on both sides."""
    row = Row(subject.name, subject.float_accuracy)
    short = list(quick(subject.name, subject.brings))
    settings = short if plan.quick else list(grid(subject.brings))
    for number, configuration in enumerate(settings, 1):
        report(f"{row.model}: Concrete ML {configuration.label} ({number} of {len(settings)})")
        row.peer.points.append(peer.measure(subject, configuration))
    report(f"{row.model}: Lutra")
    best = _search(subject, row)
    same = short[0]
    row.same_settings = same.label
    report(f"{row.model}: speed at {same.label}")
    row.peer.speed, row.lutra.speed = _speeds(subject, peer, same)
    if row.model in plan.encrypt and best is not None:
        report(f"{row.model}: {plan.samples} encrypted samples on each side")
        row.lutra.encrypted = ours.encrypted(best, subject.test, plan.samples)
        row.peer.encrypted = _encrypted(subject, peer, row, plan.samples)
    return row


def _search(subject: Subject, row: Row) -> ours.Candidate | None:
    """All that Lutra tried, and what it chose. Returns the choice at STRICT."""
    found = list(ours.candidates(subject))
    points = {candidate: ours.point(candidate, subject.test) for candidate in found}
    strict, free = (ours.chosen(subject, found, limit) for limit in (STRICT, 1.0))
    row.lutra.points = list(points.values())
    row.lutra.chosen = (points.get(strict), points.get(free))
    return strict


def _speeds(
    subject: Subject, peer: Peer, configuration: Configuration
) -> tuple[Speed | None, Speed | None]:
    answer = peer.ask(Request.of("speed", subject, configuration, samples=COMPILES))
    theirs = None if "error" in answer else Speed(**answer)
    return theirs, ours.speed(subject, configuration, CALIBRATION, COMPILES)


def _encrypted(subject: Subject, peer: Peer, row: Row, samples: int) -> Encrypted | None:
    """Of Concrete ML's cheapest configuration at STRICT."""
    best = row.best(row.peer, STRICT)
    if best is None or best.price is None:
        return None
    configuration = Configuration.parse(best.label)
    answer = peer.ask(Request.of("encrypt", subject, configuration, samples=samples))
    if "error" in answer:
        return None
    return Encrypted(best.label, best.price, samples=samples, **answer)
