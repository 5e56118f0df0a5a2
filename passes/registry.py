"""Finds passes by name: Lutra's own, one file each in this package, and those of plugins.

A plugin declares its passes as entry points of the group `lutra.passes`, and named pipelines, whose
texts are strings in its modules, as entry points of the group `lutra.pipelines`.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from functools import cache
from typing import Any

import lutra.passes
from lutra.ir.errors import PipelineError, did_you_mean
from lutra.ir.plugins import Plugins
from lutra.passes.base import Pass


@cache
def built_in() -> dict[str, type[Pass]]:
    """Lutra's own passes by name."""
    found: dict[str, type[Pass]] = {}
    for module in pkgutil.iter_modules(lutra.passes.__path__, "lutra.passes."):
        for _, cls in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(cls, Pass) and cls.__module__ == module.name and "name" in vars(cls):
                found[cls.name] = cls
    del found["pipeline"]  # is written in parentheses
    return found


def _own(name: str) -> list[str]:
    return ["lutra"] if name in built_in() else []


def _flaw(name: str, found: Any) -> str:
    if not (inspect.isclass(found) and issubclass(found, Pass)):
        return "is no Pass class"
    return "" if found.name == name else f"calls itself {found.name!r}"


PASSES = Plugins("lutra.passes", "pass", _own, _flaw)
PIPELINES = Plugins(
    "lutra.pipelines",
    "pipeline",
    PASSES.owners,
    lambda name, found: "" if isinstance(found, str) else "is no text",
)


def names() -> list[str]:
    """All names of passes, sorted."""
    return sorted({*built_in(), *PASSES.names()})


def find(name: str) -> type[Pass]:
    """The pass class of that name.

    Errors: P001 unknown, P006 provided by two packages, P007 a plugin that does not load.
    """
    found: type[Pass] | None = PASSES.load(name) or built_in().get(name)
    if found is None:
        known = [*names(), *PIPELINES.names()]
        raise PipelineError("P001", f"no pass {name!r}", help=did_you_mean(name, known))
    return found


def pipeline(name: str) -> str | None:
    """The text of the pipeline that a plugin names so; None where there is none. P006, P007."""
    if name not in PIPELINES.names():
        return None
    text: str = PIPELINES.load(name)
    return text
