"""Tables of results, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from lutra.experiment.rows import OWN_COLUMNS, Row


def table(rows: Sequence[Row], columns: Sequence[str] = ()) -> Table:
    """Results as a table: model, pipeline, parameters and metrics, and the errors of what failed.

    columns: the results' columns in their order; those of the rows by default.
    """
    names = list(columns) or list(dict.fromkeys(name for row in rows for name in row))
    failed = [name for name in ("error", "message") if any(name in row for row in rows)]
    measured = (name for name in names if name not in OWN_COLUMNS)
    shown = ["model", "pipeline", *measured, *failed]
    drawn = Table(row_styles=("", "dim"))
    for name in shown:
        numbers = all(isinstance(row.get(name, 0), int | float) for row in rows)
        drawn.add_column(name, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(spell(row.get(name, "")) for name in shown))
    return drawn


def spell(value: str | float) -> str:
    """A cell's text: whole numbers in full up to a million, else four digits."""
    if isinstance(value, str):
        return value
    if float(value).is_integer() and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.4g}"
