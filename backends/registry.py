"""Finds backends by name: Lutra's own, one module each in this package, and those of plugins.

A plugin names its backend, an object or module as `lutra.backends.base.Backend` says, as an entry
point of the group `lutra.backends`. Nothing is imported before it is asked for.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from functools import cache
from typing import Any

import lutra.backends
from lutra.backends.base import Backend, Limits
from lutra.ir.errors import BackendError, did_you_mean
from lutra.ir.plugins import Plugins

_NO_BACKENDS = {"base", "registry"}
_PARTS: dict[str, Any] = {"name": str, "limits": Limits, "emit": Callable}


@cache
def built_in() -> tuple[str, ...]:
    """Names of Lutra's own backends."""
    modules = (module.name for module in pkgutil.iter_modules(lutra.backends.__path__))
    return tuple(sorted(set(modules) - _NO_BACKENDS))


def _own(name: str) -> list[str]:
    return ["lutra"] if name in built_in() else []


def _flaw(name: str, found: Any) -> str:
    lacks = [k for k, kind in _PARTS.items() if not isinstance(getattr(found, k, None), kind)]
    return f"has no {lacks[0]!r} as a backend does" if lacks else ""


BACKENDS = Plugins("lutra.backends", "backend", _own, _flaw)


def names() -> list[str]:
    """All names of backends, sorted."""
    return sorted({*built_in(), *BACKENDS.names()})


def find(name: str) -> Backend:
    """The backend of that name.

    Errors: BackendError B001 where there is none; PipelineError P006 where two packages provide
    one, P007 where a plugin does not load or is no backend.
    """
    found: Backend | None = BACKENDS.load(name)
    if found is None and name in built_in():
        found = importlib.import_module(f"{lutra.backends.__name__}.{name}")
    if found is None:
        raise BackendError("B001", f"no backend {name!r}", help=did_you_mean(name, names()))
    return found
