"""Finds operations by name: those declared so far, and those of plugins.

A plugin names each of its operations as an entry point of the group `lutra.ops`. It is imported
when a text names the operation, or a pass imports it itself.
"""

from __future__ import annotations

import inspect
from typing import Any

from lutra.ir.core import OPS, Op
from lutra.ir.plugins import Plugins


def _own(name: str) -> list[str]:
    return ["lutra"] if name in OPS and OPS[name].__module__.startswith("lutra.") else []


def _flaw(name: str, found: Any) -> str:
    if not (inspect.isclass(found) and issubclass(found, Op) and "opname" in vars(found)):
        return "is not declared by `@op`"
    return "" if found.opname == name else f"calls itself {found.opname!r}"


OPERATIONS = Plugins("lutra.ops", "op", _own, _flaw)


def names() -> list[str]:
    """All names of operations, sorted; plugins are not loaded for it."""
    return sorted({*OPS, *OPERATIONS.names()})


def find(name: str) -> type[Op] | None:
    """The class of operations of that name, None where there is none.

    Errors: P006 provided by two packages, P007 a plugin that does not load.
    """
    found: type[Op] | None = OPERATIONS.load(name)
    return found or OPS.get(name)
