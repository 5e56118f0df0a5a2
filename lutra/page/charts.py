"""Numbers as points of drawings, for templates to draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lutra.ir.ops import Lookup
from lutra.ir.types import Array
from lutra.page.evidence import Histogram

WIDE, HIGH = 300.0, 96.0
"""Size of a chart's area, in units of its drawing."""
TABLES = 24
"""Tables of one operation that are drawn."""
POINTS = 256
"""Entries of one table that are drawn."""


@dataclass(frozen=True)
class Bars:
    """A histogram: x, y, width and height of each bar, and the ends of its axis."""

    rectangles: Sequence[tuple[float, float, float, float]]
    lo: int
    hi: int
    outside: str


def bars(histogram: Histogram) -> Bars:
    """Bars as high as the square root of the counts: rare values at the ends are what matters."""
    heights = np.sqrt(histogram.counts)
    scale = HIGH / max(1.0, float(heights.max()))
    width = WIDE / len(heights)
    rectangles = [
        (index * width, HIGH - height * scale, 0.85 * width, height * scale)
        for index, height in enumerate(heights.tolist())
        if height
    ]
    return Bars(rectangles, histogram.lo, histogram.hi, f"{histogram.outside:.2%}")


@dataclass(frozen=True)
class Curves:
    """Tables as steps, one path each, and the ends of both axes. `tables` counts all."""

    paths: Sequence[str]
    tables: int
    lo: int
    hi: int
    least: int
    most: int


def curves(op: Lookup) -> Curves:
    """The tables of an operation, evenly chosen where there are many."""
    rows = op.table.reshape(-1, op.entries)
    least, most = int(rows.min()), int(rows.max())
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, min(TABLES, len(rows))).astype(int))]
    paths = [_steps(row, least, most) for row in chosen]
    return Curves(paths, len(rows), op.base, op.base + op.entries - 1, least, most)


def _steps(row: Array, least: int, most: int) -> str:
    entries = row[np.linspace(0, len(row) - 1, min(POINTS, len(row))).astype(int)]
    ys = HIGH - (entries - least) * (HIGH / max(1, most - least))
    width = WIDE / len(entries)
    steps = [f"V{y:.1f}H{(index + 1) * width:.1f}" for index, y in enumerate(ys.tolist())]
    return f"M0 {ys[0]:.1f}{''.join(steps)}"
