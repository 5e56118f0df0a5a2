"""Files of results: CSV, a line for each trial, or Parquet where pyarrow is installed."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from lutra.experiment.rows import OWN_COLUMNS, Row, number
from lutra.ir.errors import ExperimentError


class Results(Protocol):
    """A file of rows, by the key of their trials. What is added is on the disk at once."""

    def read(self) -> dict[str, Row]:
        """All rows by key; of several with one key the last."""
        ...

    def add(self, row: Row) -> None:
        """Write one more row."""
        ...


def results_at(path: Path, columns: Sequence[str] = ()) -> Results:
    """The results in a file, which need not exist; its name's ending tells the format.

    columns: what rows may hold; a file with other columns keeps them and gets these too.
    Error X006 for another ending, or Parquet without pyarrow.
    """
    if path.suffix == ".csv":
        return CsvResults(path, columns)
    if path.suffix != ".parquet":
        raise ExperimentError("X006", f"{path}: results are written as .csv or .parquet")
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ExperimentError(
            "X006", f"{path}: {error}", help="install a pyarrow for this numpy, or write .csv"
        ) from error
    return ParquetResults(path, columns)


class CsvResults:
    """Rows as lines of text. A line that a kill cut short is not read, and overwritten."""

    def __init__(self, path: Path, columns: Sequence[str] = ()) -> None:
        self.path = path
        self.columns = tuple(columns)

    def read(self) -> dict[str, Row]:
        header, lines = self._lines()
        rows = (dict(zip(header, line, strict=False)) for line in lines)
        parsed = ({n: _cell(n, text) for n, text in row.items() if text} for row in rows)
        return {str(row["key"]): row for row in parsed if "key" in row}

    def add(self, row: Row) -> None:
        self._prepare()
        with self.path.open("ab") as file:
            file.write(_line([row.get(name, "") for name in self.columns]))
            file.flush()
            os.fsync(file.fileno())

    def _prepare(self) -> None:
        """Let the file end with a whole line, below a header with all columns."""
        header, lines = self._lines()
        columns = tuple(dict.fromkeys((*header, *self.columns)))
        if header != columns or not self._ends_whole():
            rows = [dict(zip(header, line, strict=False)) for line in lines]
            content = [_line(columns), *(_line([r.get(n, "") for n in columns]) for r in rows)]
            replace(self.path, b"".join(content))
        self.columns = columns

    def _ends_whole(self) -> bool:
        return self.path.read_bytes()[-1:] == b"\n"

    def _lines(self) -> tuple[tuple[str, ...], list[list[str]]]:
        if not self.path.exists():
            return (), []
        try:
            text = self.path.read_bytes().decode()
            whole = text[: text.rfind("\n") + 1]
            lines = list(csv.reader(io.StringIO(whole), strict=True))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise ExperimentError("X006", f"{self.path}: {error}") from error
        header = tuple(lines[0]) if lines else ()
        if lines and "key" not in header:
            raise ExperimentError("X006", f"{self.path} holds no results: it has no column `key`")
        return header, lines[1:]


class ParquetResults:
    """Rows as one table, written anew with each row: a kill leaves the old file or the new one."""

    def __init__(self, path: Path, columns: Sequence[str] = ()) -> None:
        self.path = path
        self.columns = tuple(columns)

    def read(self) -> dict[str, Row]:
        import pyarrow.parquet

        if not self.path.exists():
            return {}
        try:
            rows: list[dict[str, Any]] = pyarrow.parquet.read_table(self.path).to_pylist()
        except (OSError, pyarrow.ArrowException) as error:
            raise ExperimentError("X006", f"{self.path}: {error}") from error
        present = ({name: v for name, v in row.items() if v is not None} for row in rows)
        return {str(row["key"]): row for row in present}

    def add(self, row: Row) -> None:
        import pyarrow
        import pyarrow.parquet

        rows = {**self.read(), str(row["key"]): row}
        found = (name for one in rows.values() for name in one)
        names = dict.fromkeys((*self.columns, *found))
        columns = {name: _alike([one.get(name) for one in rows.values()]) for name in names}
        sink = pyarrow.BufferOutputStream()
        pyarrow.parquet.write_table(pyarrow.table(columns), sink)
        replace(self.path, sink.getvalue().to_pybytes())


def _cell(column: str, text: str) -> str | float:
    return text if column in OWN_COLUMNS else number(text)


def _alike(values: Sequence[Any]) -> list[Any]:
    """Values of one type: text where any is text, floats where any is one, else integers."""
    kinds = {type(value) for value in values}
    kind = next((kind for kind in (str, float) if kind in kinds), int)
    return [None if value is None else kind(value) for value in values]


def _line(cells: Iterable[object]) -> bytes:
    """One line of CSV. Line breaks in cells become spaces, so that a line is a row."""
    text = io.StringIO()
    flat = (" ".join(c.split("\n")) if isinstance(c, str) else c for c in cells)
    csv.writer(text, lineterminator="\n").writerow(flat)
    return text.getvalue().encode()


def replace(path: Path, content: bytes) -> None:
    """Write a file such that it is the old one or the new one at any time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
