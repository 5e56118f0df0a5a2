"""Markdown from docstrings and rows."""

from __future__ import annotations

import inspect
import re
from types import ModuleType


def table(*rows: tuple[str, ...]) -> str:
    """A table, headed by its first row."""
    head, *body = [[cell.replace("|", r"\|").replace("\n", " ") for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *body))


def prose(documented: object) -> str:
    """A docstring as Markdown: indented blocks as code, `name: what it is` as lists."""
    blocks = re.split(r"\n\s*\n", inspect.getdoc(documented) or "")
    return "\n\n".join(map(block, blocks))


def first_paragraph(documented: object) -> str:
    return " ".join(re.split(r"\n\s*\n", inspect.getdoc(documented) or "")[0].split())


def block(text: str) -> str:
    """A docstring's paragraph, code or list."""
    lines = text.splitlines()
    if all(line.startswith("    ") for line in lines):
        return fenced("\n".join(line[4:] for line in lines))
    if _ITEM.match(lines[0]) and all(_ITEM.match(x) or x.startswith(" ") for x in lines):
        return "\n".join(_listed(line) for line in lines)
    return text


def fenced(text: str) -> str:
    return f"```text\n{text}\n```"


_ITEM = re.compile(r"([a-z][\w-]*(?:, [a-z][\w-]*)*)(?:: | {2,})(?=\S)")


def _listed(line: str) -> str:
    item = _ITEM.match(line)
    if item is None:
        return f"  {line.strip()}"
    names = ", ".join(f"`{name}`" for name in item[1].split(", "))
    return f"- {names}: {line[item.end() :]}"


def grammar_of(module: ModuleType) -> str:
    """The first indented block of a module's docstring."""
    blocks = re.split(r"\n\s*\n", module.__doc__ or "")
    return next(block(text.rstrip()) for text in blocks if text.startswith("    "))
