"""Reads a TOML file's tables, and says what is wrong in them by name."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from lutra.ir.errors import ExperimentError, did_you_mean

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")
KINDS = {str: "a string", int: "a whole number", dict: "a table", list: "a list"}


def read(path: Path) -> Table:
    """The file's top table. Error X001 if it is not there or no TOML."""
    try:
        return Table(tomllib.loads(path.read_text(encoding="utf-8")), str(path))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ExperimentError("X001", f"{path}: {error}") from error


class Table:
    """One table: gives out values by name and type. `where` says whose they are."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self.values = values
        self.where = where

    def get(self, name: str, kind: type[T], default: T | None = None) -> T:
        """The value of that name. Error X001 if it is of another type, or missing."""
        value = self.values.get(name, default)
        if value is None:
            self.fail(f"`{name}` is missing")
        if isinstance(value, kind) and not isinstance(value, bool):
            return value
        self.fail(f"`{name}` is {value!r}, not {KINDS[kind]}")

    def optional(self, name: str, kind: type[T]) -> T | None:
        """The value of that name, None where there is none."""
        return self.get(name, kind) if name in self.values else None

    def table(self, name: str) -> Table:
        """The table of that name, empty where there is none."""
        return Table(self.get(name, dict, {}), f"{self.where}: [{name}]")

    def only(self, known: Sequence[str]) -> None:
        """Error X001 if the table holds any other name."""
        for name in self.values:
            if name not in known:
                raise ExperimentError(
                    "X001", f"{self.where} has no {name!r}", help=did_you_mean(name, known)
                )

    def fail(self, message: str) -> NoReturn:
        raise ExperimentError("X001", f"{self.where}: {message}")
