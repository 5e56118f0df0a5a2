"""Finds passes by name: Lutra's own, one file each in this package, and those of plugins.

A plugin declares its passes as entry points of the group `lutra.passes`.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from functools import cache
from importlib.metadata import EntryPoint, entry_points

import lutra.passes
from lutra.ir.errors import PipelineError, did_you_mean
from lutra.passes.base import Pass

GROUP = "lutra.passes"


@cache
def built_in() -> dict[str, type[Pass]]:
    """Lutra's own passes by name."""
    found: dict[str, type[Pass]] = {}
    for module in pkgutil.iter_modules(lutra.passes.__path__, "lutra.passes."):
        for _, cls in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(cls, Pass) and cls.__module__ == module.name and "name" in vars(cls):
                found[cls.name] = cls
    return found


@cache
def plugins() -> dict[str, EntryPoint]:
    """Entry points of other packages' passes by name. Error P006 where two claim one name."""
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        other = "lutra" if point.name in built_in() else None
        if point.name in found:
            other = _package(found[point.name])
        if other is not None:
            raise PipelineError(
                "P006", f"{other} and {_package(point)} both provide a pass {point.name!r}"
            )
        found[point.name] = point
    return found


def names() -> list[str]:
    """All names of passes, sorted."""
    return sorted({*built_in(), *plugins()})


def find(name: str) -> type[Pass]:
    """The pass class of that name. Errors: P001 unknown, P007 a plugin that does not load."""
    if name in built_in():
        return built_in()[name]
    if name not in plugins():
        raise PipelineError("P001", f"no pass {name!r}", help=did_you_mean(name, names()))
    point = plugins()[name]
    try:
        cls = point.load()
    except Exception as error:  # whatever a plugin's import raises
        raise PipelineError("P007", f"pass {name!r} of {_package(point)}: {error}") from error
    if not (inspect.isclass(cls) and issubclass(cls, Pass)):
        raise PipelineError("P007", f"pass {name!r} of {_package(point)} is no Pass class: {cls!r}")
    return cls


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value
