"""Figures, drawn by matplotlib where it is installed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lutra.ir.errors import ExperimentError, InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".pdf", ".png", ".svg")


def figure(width: float, height: float) -> Figure:
    """An empty figure of that size, in inches. Error X003 without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ExperimentError(
            "X003", "matplotlib is not installed", help="install Lutra's extra `plots`"
        ) from error
    return Figure(figsize=(width, height), layout="constrained")


def check_figure(path: str | Path) -> None:
    """Errors before any work: X003 without matplotlib, I005 and I004 for a path of no use."""
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise InputError(
            "I005", f"{path} names no format of figures", help=f"end it with {', '.join(FORMATS)}"
        )
    if not path.absolute().parent.is_dir():
        raise InputError("I004", f"there is no folder {path.absolute().parent}")
    figure(1, 1)
