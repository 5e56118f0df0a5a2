"""One self-contained page about a model: no file beside it, nothing from the network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

import lutra
from lutra.archive import check_writable, write_atomically
from lutra.ir.analysis import look_ups
from lutra.ir.ops import Lookup
from lutra.model import Model
from lutra.page.charts import HIGH, WIDE, Bars, Curves, bars, curves
from lutra.page.drawing import Drawing
from lutra.page.evidence import Evidence, histograms, ladder, rerun
from lutra.page.templates import render
from lutra.passes import Record
from lutra.pool import SPEED
from lutra.report import NO_LOOK_UPS, Layer, Report, prices_of

SHOWN = 60
"""Layers whose histograms and tables are drawn: the dearest ones."""


@dataclass(frozen=True)
class Row:
    """A layer as the page shows it; `share` is its part of the price, None if that is unknown."""

    layer: Layer
    share: float | None
    histogram: Bars | None
    tables: Curves | None


@dataclass(frozen=True)
class Timing:
    """What one pass did, indented as the pipeline nests."""

    name: str
    depth: int
    seconds: float
    share: float
    changes: int


def page(model: Model, evidence: Evidence | None = None) -> str:
    """The HTML of a report. Emits the circuit for its prices. Errors: those of `Evidence`."""
    given = evidence or Evidence()
    again, unrounded = rerun(model, given)
    report = Report.of(model)
    rows = list(_rows(model, report, given))
    return render(
        "report.html",
        version=lutra.__version__,
        report=report,
        facts=list(_facts(report)),
        circuit=Markup(Drawing(model.module.circuit, prices_of(model)[0]).svg()),
        rows=rows,
        linear=NO_LOOK_UPS,
        drawn=[row for row in _dearest(rows) if row.histogram or row.tables],
        ladder=list(ladder(model, given, unrounded)),
        timings=list(_timings((again or model).records)),
        data=given.inputs is not None,
        area=(WIDE, HIGH),
    )


def write(model: Model, path: str | Path, evidence: Evidence | None = None) -> None:
    """Write a report, at once or not at all. Errors I004; those of `page`."""
    check_writable(Path(path))
    write_atomically(Path(path), page(model, evidence).encode())


def _rows(model: Model, report: Report, evidence: Evidence) -> Iterator[Row]:
    seen = {}
    if evidence.inputs is not None:
        seen = histograms(model, model.signature.arrange(evidence.inputs).arrays)
    total = sum(layer.price or 0.0 for layer in report.layers)
    for layer, site in zip(report.layers, look_ups(model.module.circuit), strict=True):
        share = None if layer.price is None or not total else layer.price / total
        histogram = bars(seen[site.op]) if site.op in seen else None
        tables = curves(site.op) if isinstance(site.op, Lookup) else None
        yield Row(layer, share, histogram, tables)


def _dearest(rows: Sequence[Row]) -> Sequence[Row]:
    """The dearest rows, in the circuit's order."""
    kept = sorted(rows, key=lambda row: row.share or 0.0, reverse=True)[:SHOWN]
    return [row for row in rows if any(row is one for one in kept)]


def _facts(report: Report) -> Iterator[tuple[str, str]]:
    """What is worth knowing at a glance: a number and what it is."""
    sizes: dict[str, Any] = dict(report.statistics)
    yield f"{report.pbs:,}", "look-ups (PBS) a sample"
    if report.layers:
        if report.price is not None:
            yield f"{report.price:.3g}", f"price: about {report.price / SPEED:.3g} s of one core"
        widest = max(layer.rounded or layer.type.bits for layer in report.layers)
        yield f"{widest} bits", "widest input of a look-up"
        yield f"{report.p_error:.2g}", "chance that one look-up is off"
        if "global_p_error" in sizes:
            yield f"{sizes['global_p_error']:.2g}", "chance that any of a sample is off"
        if "bootstrap_key_bytes" in sizes:
            size = sizes["bootstrap_key_bytes"] + sizes.get("keyswitch_key_bytes", 0)
            yield _bytes(size), "evaluation keys in memory"
    if "input_bytes" in sizes:
        yield _bytes(sizes["input_bytes"]), "encrypted inputs of a sample"
        yield _bytes(sizes["output_bytes"]), "encrypted outputs of a sample"


def _bytes(size: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


def _timings(records: Sequence[Record]) -> Iterator[Timing]:
    total = sum(record.seconds for record in records) or 1.0
    for top in records:
        for depth, record in top.walk():
            share = record.seconds / total
            yield Timing(record.item.name, depth, record.seconds, share, record.changes)
