"""Rows of results."""

from __future__ import annotations

from typing import TypeAlias

Row: TypeAlias = dict[str, str | float]
"""One trial's line of the results: a value for each column that has one."""

OWN_COLUMNS = ("key", "model", "pipeline", "text", "error", "message", "versions", "started")
"""The columns that all results have; they hold text. Parameters and metrics stand between."""


def number(text: str) -> str | float:
    """The number that a text spells, else the text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
