"""Tables: for terminals, as Markdown, and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.box import MARKDOWN, ROUNDED, Box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from benchmarks.versus.figures import STRICT, Bar, Point, Row, bars

WIDTH = 180
NONE = "-"
LEFT = ("model", "settings", "pipeline", "claim")
"""Columns of words."""

LIMITS = ((STRICT, "2^-40"), (None, "any"))


def tables(rows: Sequence[Row], box: Box = ROUNDED) -> list[RenderableType]:
    """Prices, seconds, and the claims."""
    return [prices(rows, box), pipelines(rows, box), seconds(rows, box), claims(bars(rows), box)]


def prices(rows: Iterable[Row], box: Box = ROUNDED) -> Table:
    """What both sides offer within a point of float accuracy, and how much cheaper Lutra's is."""
    peer = [
        f"Concrete ML\n{name}"
        for name in ("settings", "accuracy", "bits", "PBS", "price", "compile s")
    ]
    mine = [f"Lutra\n{name}" for name in ("accuracy", "bits", "PBS", "price", "compile s")]
    table = _table(box, "model", "float", "p_error", *peer, *mine, "cheaper")
    for row in rows:
        for limit, name in LIMITS:
            theirs, ours = row.choice(row.peer, limit), row.choice(row.lutra, limit)
            table.add_row(
                *(row.model, f"{row.accuracy:.3f}", name),
                *([NONE] * 6 if theirs is None else (theirs.label, *_figures(theirs))),
                *([NONE] * 5 if ours is None else _figures(ours)),
                _gain(row, limit),
            )
    return table


def _gain(row: Row, limit: float | None) -> str:
    mine, theirs = (row.best(side, limit) for side in (row.lutra, row.peer))
    if mine is None or theirs is None:
        names = [name for name, best in (("Lutra", mine), ("Concrete ML", theirs)) if best]
        return f"{names[0]} only" if names else "neither"
    gain = row.gain(limit)
    return "no look-up" if row.linear or gain is None else f"{gain:.1f}x"


def pipelines(rows: Iterable[Row], box: Box = ROUNDED) -> Table:
    """What Lutra was told to do, and the accuracy without look-up errors."""
    table = _table(box, "model", "at p_error", "chosen p_error", "clear accuracy", "pipeline")
    for row in rows:
        for limit, name in LIMITS:
            point = row.choice(row.lutra, limit)
            if point is not None:
                clear = NONE if point.clear is None else f"{point.clear:.3f}"
                label = f"`{point.label}`" if box is MARKDOWN else point.label
                table.add_row(row.model, name, _p_error(point.p_error), clear, Text(label))
    return table


def seconds(rows: Iterable[Row], box: Box = ROUNDED) -> Table:
    """At the same settings on both sides; encrypted: at the cheapest for p_error 2^-40."""
    parts = ("compile s", "clear ms", "simulate ms", "encrypted s", "key generation s", "tune s")
    table = _table(box, "model", "settings", *parts)
    for row in rows:
        theirs, ours = row.peer.speed, row.lutra.speed
        cells = [NONE] * 3
        if theirs and ours:
            cells = [
                _against(theirs.compile, ours.compile),
                _against(1e3 * theirs.clear, 1e3 * ours.clear),
                _against(1e3 * theirs.simulate, 1e3 * ours.simulate),
            ]
        encrypted = [NONE] * 2
        if row.peer.encrypted and row.lutra.encrypted:
            pair = (row.peer.encrypted, row.lutra.encrypted)
            encrypted = [
                _against(*(side.sample for side in pair)),
                _against(*(side.keygen for side in pair)),
            ]
        tuning = NONE if row.lutra.tuning is None else f"{row.lutra.tuning:.0f}"
        table.add_row(row.model, row.same_settings, *cells, *encrypted, tuning)
    return table


def claims(found: Iterable[Bar], box: Box = ROUNDED) -> Table:
    """What is claimed, and what was measured."""
    table = _table(box, "claim", "at least", "measured", "met")
    for bar in found:
        value = NONE if bar.value is None else f"{bar.value:.2f}"
        met = {None: NONE, True: "yes", False: "no"}[bar.met]
        table.add_row(bar.name, f"{bar.least:g}", value, met)
    return table


def markdown(rows: Sequence[Row]) -> str:
    """The tables as Markdown."""
    console = Console(width=10 * WIDTH, color_system=None)
    with console.capture() as capture:
        for table in tables(rows, MARKDOWN):
            console.print(table)
    return "\n".join(_tidied(capture.get().splitlines())) + "\n"


def data(rows: Sequence[Row]) -> dict[str, Any]:
    """Everything, for JSON."""
    return {
        "models": [asdict(row) for row in rows],
        "claims": [{**asdict(bar), "met": bar.met} for bar in bars(rows)],
    }


def _table(box: Box, *names: str) -> Table:
    table = Table(box=box)
    for name in names:
        table.add_column(
            name.replace("\n", " ") if box is MARKDOWN else name,
            justify="left" if name.endswith(LEFT) else "right",
            overflow="fold",
            no_wrap=box is MARKDOWN,
        )
    return table


def _figures(point: Point) -> tuple[str, ...]:
    accuracy = NONE if point.accuracy is None else f"{point.accuracy:.3f}"
    price = NONE if point.price is None else f"{point.price:.3g}"
    seconds = NONE if point.compile is None else f"{point.compile:.2g}"
    return accuracy, point.bits or NONE, str(point.pbs), price, seconds


def _p_error(value: float | None) -> str:
    if value is None:
        return NONE
    return "2^-40" if abs(value / STRICT - 1) < 1e-6 else f"{value:g}"


def _against(theirs: float, ours: float) -> str:
    """Such as `1.23 / 0.1 (12x)`."""
    return f"{theirs:.3g} / {ours:.3g} ({theirs / ours:.3g}x)"


def _tidied(lines: Iterable[str]) -> Iterator[str]:
    """Without padding and with one empty line between tables."""
    for line in lines:
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.strip():
            yield f"| {' | '.join(cells)} |"
        else:
            yield ""
