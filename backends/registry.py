"""Finds backends by name: Lutra's own, one module each in this package, and those of plugins.

A plugin names its backend, an object or module as `lutra.backends.base.Backend` says, as an entry
point of the group `lutra.backends`. Nothing is imported before it is asked for.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import lutra.backends
from lutra.backends.base import Backend, Limits
from lutra.ir.errors import BackendError, PipelineError, did_you_mean

GROUP = "lutra.backends"
_NO_BACKENDS = {"base", "registry"}


@cache
def built_in() -> tuple[str, ...]:
    """Names of Lutra's own backends."""
    modules = (module.name for module in pkgutil.iter_modules(lutra.backends.__path__))
    return tuple(sorted(set(modules) - _NO_BACKENDS))


def names() -> list[str]:
    """All names of backends, sorted."""
    return sorted({*built_in(), *(point.name for point in entry_points(group=GROUP))})


def get_backend(name: str) -> Backend:
    """The backend of that name.

    Errors: BackendError B001 where there is none; PipelineError P006 where two packages provide
    one, P007 where a plugin does not load or is no backend.
    """
    found = entry_points(group=GROUP, name=name)
    points = list({(point.value, _package(point)): point for point in found}.values())
    owners = ["lutra"] * (name in built_in()) + sorted(map(_package, points))
    if not owners:
        raise BackendError("B001", f"no backend {name!r}", help=did_you_mean(name, names()))
    if len(owners) > 1:
        raise PipelineError(
            "P006",
            f"{' and '.join(owners)} both provide a backend {name!r}",
            help=f"uninstall one of them: {', '.join(owners)}",
        )
    if not points:
        own: Backend = importlib.import_module(f"{lutra.backends.__name__}.{name}")
        return own
    return _load(points[0])


find = get_backend


def _load(point: EntryPoint) -> Backend:
    title = f"backend {point.name!r} of {_package(point)}"
    try:
        backend: Backend = point.load()
    except Exception as error:  # whatever a plugin's import raises
        raise PipelineError("P007", f"{title}: {error}") from error
    kinds: dict[str, Any] = {"name": str, "limits": Limits, "emit": Callable}
    lacks = [k for k, kind in kinds.items() if not isinstance(getattr(backend, k, None), kind)]
    if lacks:
        raise PipelineError("P007", f"{title} has no {lacks[0]!r} as a backend does: {backend!r}")
    return backend


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value
