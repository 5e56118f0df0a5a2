"""Plots of results: one column against another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from lutra.experiment.rows import Row
from lutra.experiment.spec import Plot
from lutra.figure import figure

MARKERS = "osD^vP*X<>"
Points: TypeAlias = list[tuple[float, float]]


def draw(plot: Plot, rows: Sequence[Row], path: Path, parameters: Sequence[str] = ()) -> int:
    """Draw a plot into a file, whose ending tells the format (.png, .svg, .pdf).

    Rows without a number in both columns are left out; returns how many are drawn. A series' first
    column chooses the colour, all others the marker. Points of a series are joined along a
    parameter of the grid, unless it has several at one place. Error X003 without matplotlib.
    """
    drawing = figure(6.4, 4.4)
    axes = drawing.add_subplot()
    found = series(plot, rows)
    colours = _numbered(label[0] for label in found)
    markers = _numbered(label[1:] or label for label in found)
    for label, points in found.items():
        xs = [x for x, _ in points]
        axes.plot(
            xs,
            [y for _, y in points],
            color=f"C{colours[label[0]] % 10}",
            marker=MARKERS[markers[label[1:] or label] % len(MARKERS)],
            linestyle="-" if plot.x in parameters and len({*xs}) == len(xs) else "",
            alpha=0.8,
            label=", ".join(label),
        )
    _scale(axes, plot, [x for points in found.values() for x, _ in points])
    if found:
        drawing.legend(title=", ".join(plot.series), loc="outside right upper")
    path.parent.mkdir(parents=True, exist_ok=True)
    drawing.savefig(path, dpi=150)
    return sum(map(len, found.values()))


def _scale(axes: Any, plot: Plot, xs: Sequence[float]) -> None:
    axes.set_xlabel(plot.x)
    axes.set_ylabel(plot.y)
    if "y" in plot.log:
        axes.set_yscale("log")
    if "x" in plot.log:
        axes.set_xscale("log")
    elif all(isinstance(x, int) for x in xs):
        axes.locator_params(axis="x", integer=True)
    axes.grid(alpha=0.3)


def _numbered(items: Any) -> dict[Any, int]:
    return {item: number for number, item in enumerate(dict.fromkeys(items))}


def series(plot: Plot, rows: Sequence[Row]) -> dict[tuple[str, ...], Points]:
    """The points of each series, by rising x."""
    found: dict[tuple[str, ...], Points] = {}
    for row in rows:
        x, y = row.get(plot.x), row.get(plot.y)
        if isinstance(x, int | float) and isinstance(y, int | float):
            label = tuple(str(row.get(name, "")) for name in plot.series)
            found.setdefault(label, []).append((x, y))
    return {label: sorted(points) for label, points in found.items()}
