"""Price against accuracy of every configuration, one panel for each model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.versus.figures import STRICT, TOLERANCE, Point, Row, within

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIDES = (("Concrete ML", "#c1121f"), ("Lutra", "#1d4e89"))
COLUMNS = 4
WINDOW = 0.05
"""Points further below float accuracy lie outside the panels."""


def draw(rows: Sequence[Row], path: Path) -> None:
    """Write the plot; the file's ending says in which format. Needs matplotlib."""
    from matplotlib.figure import Figure

    shown = [row for row in rows if not row.linear]
    columns = min(COLUMNS, len(shown)) or 1
    lines = -(-len(shown) // columns) or 1
    figure = Figure(figsize=(3.2 * columns, 2.7 * lines + 0.5), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False)
    for panel in axes.flat[len(shown) :]:
        panel.set_visible(False)
    for row, panel in zip(shown, axes.flat, strict=False):
        _panel(row, panel)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=min(4, 1 + columns),
        frameon=False,
        fontsize=8,
    )
    figure.savefig(path, dpi=150)


def _panel(row: Row, axes: Axes) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_title(row.model, fontsize=10)
    axes.axhspan(row.accuracy - TOLERANCE, row.accuracy, color="#d8e2dc", zorder=0)
    axes.axhline(row.accuracy, color="gray", linewidth=0.8, linestyle="--", label="float accuracy")
    for side, (name, colour) in zip((row.peer, row.lutra), SIDES, strict=True):
        for strict, marker in ((True, "o"), (False, "^")):
            points = [p for p in side.points if _visible(row, p) and within(p, STRICT) is strict]
            label = f"{name}, p_error {'2^-40' if strict else 'larger'}"
            _scatter(axes, points, s=22, marker=marker, color=colour, alpha=0.55, label=label)
    chosen = [best for side in (row.peer, row.lutra) for p in (STRICT, None)
              if (best := row.best(side, p)) is not None]  # fmt: skip
    _scatter(
        axes, chosen, s=80, facecolors="none", edgecolors="black", label="chosen, within a point"
    )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0e}".replace("e+", "e"))
    top = max(row.accuracy, *(point.accuracy or 0.0 for point in (*row.peer.points, *chosen)))
    axes.set_ylim(row.accuracy - WINDOW, min(1.004, top + 0.01))
    axes.set_xlabel("price (complexity)", fontsize=8)
    axes.set_ylabel("test accuracy", fontsize=8)
    axes.tick_params(labelsize=7)


def _scatter(axes: Axes, points: Sequence[Point], **how: object) -> None:
    prices, accuracies = ([getattr(p, name) for p in points] for name in ("price", "accuracy"))
    axes.scatter(prices, accuracies, linewidths=1, **how)  # type: ignore[arg-type]


def _visible(row: Row, point: Point) -> bool:
    return point.price is not None and (point.accuracy or 0.0) >= row.accuracy - WINDOW
