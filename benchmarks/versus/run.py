"""Both sides on every model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.versus import environment, ours
from benchmarks.versus.configurations import Configuration, grid, quick
from benchmarks.versus.figures import STRICT, Encrypted, Row, Speed
from benchmarks.versus.peer import CALIBRATION, Peer, Request
from benchmarks.versus.subjects import Subject
from lutra.tuning.result import Tuning

Report = Callable[[str], None]
"""Takes a line of progress."""

COMPILES = 3
"""Compilations of which the fastest counts."""


@dataclass(frozen=True)
class Plan:
    """What to measure: the short list or the whole grid, and which models really encrypted.

    work: the folder that keeps what was found.
    """

    quick: bool = True
    encrypt: Sequence[str] = ()
    samples: int = 3
    work: Path = field(default_factory=environment.folder)


def compare(subject: Subject, peer: Peer, plan: Plan, report: Report) -> Row:
    """One model on both sides."""
    row = Row(subject.name, subject.float_accuracy)
    short = list(quick(subject.name, subject.brings))
    settings = short if plan.quick else list(grid(subject.brings))
    for number, configuration in enumerate(settings, 1):
        report(f"{row.model}: Concrete ML {configuration.label} ({number} of {len(settings)})")
        row.peer.points.append(peer.measure(subject, configuration))
    report(f"{row.model}: tuning")
    found = [
        tuning
        for limit, name in ((STRICT, "strict"), (None, "free"))
        for tuning in ours.tuned(subject, limit, plan.work / f"{row.model}-{name}.jsonl")
    ]
    _record(subject, row, found)
    row.same_settings = short[0].label
    report(f"{row.model}: speed at {row.same_settings}")
    row.peer.speed, row.lutra.speed = _speeds(subject, peer, short[0])
    best = row.choice(row.lutra, STRICT)
    if row.model in plan.encrypt and best is not None:
        report(f"{row.model}: {plan.samples} encrypted samples on each side")
        model = ours.compiled(subject, best.label, best.p_error)
        price = best.price or 0.0
        row.lutra.encrypted = ours.encrypted(model, price, subject.test, plan.samples)
        row.peer.encrypted = _encrypted(subject, peer, row, plan.samples)
    return row


def _record(subject: Subject, row: Row, found: Sequence[Tuning]) -> None:
    """What tuning chose, and for the plot the best of what it tried last."""
    choices = {(t.choice.pipeline, t.choice.p_error): t.choice for t in found}
    row.lutra.offers = [ours.offered(subject, choice) for choice in choices.values()]
    row.lutra.tuning = sum(tuning.seconds for tuning in found)
    row.lutra.points = [*row.lutra.offers]
    for tuning in found[-1:]:
        row.lutra.points += ours.front(subject, tuning)


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
