"""Price against accuracy of every configuration, one panel for each model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.versus.figures import STRICT, TOLERANCE, Point, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIDES = (("Concrete ML", "#c1121f"), ("Lutra", "#1d4e89"))
COLUMNS = 4
WINDOW = 0.08
"""Points further below float accuracy lie outside the panels."""


def draw(rows: Sequence[Row], path: Path) -> None:
    """Write the plot; the file's ending says in which format. Needs matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = [row for row in rows if not row.linear]
    columns = min(COLUMNS, len(shown)) or 1
    lines = -(-len(shown) // columns) or 1
    figure, axes = pyplot.subplots(
        lines, columns, figsize=(3.4 * columns, 2.9 * lines), squeeze=False, layout="constrained"
    )
    for panel in axes.flat[len(shown) :]:
        panel.set_visible(False)
    for row, panel in zip(shown, axes.flat, strict=False):
        _panel(row, panel)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _panel(row: Row, axes: Axes) -> None:
    axes.set_title(row.model, fontsize=10)
    axes.axhspan(row.accuracy - TOLERANCE, row.accuracy, color="#d8e2dc", zorder=0)
    axes.axhline(row.accuracy, color="gray", linewidth=0.8, linestyle="--", label="float accuracy")
    for side, (name, colour) in zip((row.peer, row.lutra), SIDES, strict=True):
        for strict, marker in ((True, "o"), (False, "^")):
            points = [p for p in side.points if _visible(row, p) and _is_strict(p) is strict]
            axes.scatter(
                [p.price or 0.0 for p in points],
                [p.accuracy or 0.0 for p in points],
                s=26,
                marker=marker,
                color=colour,
                alpha=0.75,
                linewidths=0,
                label=f"{name}, p_error {'2^-40' if strict else 'larger'}",
            )
    axes.set_xscale("log")
    top = max(
        [row.accuracy, *(p.accuracy or 0 for side in (row.peer, row.lutra) for p in side.points)]
    )
    axes.set_ylim(row.accuracy - WINDOW, top + 0.01)
    axes.set_xlabel("price (complexity)", fontsize=8)
    axes.set_ylabel("test accuracy", fontsize=8)
    axes.tick_params(labelsize=8)


def _visible(row: Row, point: Point) -> bool:
    return (
        point.price is not None
        and point.accuracy is not None
        and point.accuracy >= row.accuracy - WINDOW
    )


def _is_strict(point: Point) -> bool:
    return (point.p_error or 0.0) <= STRICT * (1 + 1e-6)
