"""What other packages plug in: entry points, found by group and name, loaded when asked for.

A plugin that is broken, or whose name clashes with another's, is an error for whoever asks for it
and for nobody else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from lutra.ir.errors import Error, PipelineError

Stamp = tuple[tuple[str, int], ...]


def _nobody(name: str) -> Sequence[str]:
    return ()


def _flawless(name: str, found: Any) -> str:
    return ""


@dataclass(frozen=True)
class Plugins:
    """One kind of plugin.

    group: the entry points' group, such as `lutra.passes`.
    kind: what one of them is, for messages.
    others: the packages that provide a name without an entry point of this group: Lutra itself.
    flaw: what is wrong with a loaded object of that name; empty if nothing is.
    """

    group: str
    kind: str
    others: Callable[[str], Sequence[str]] = _nobody
    flaw: Callable[[str, Any], str] = _flawless

    def names(self) -> list[str]:
        """The names that entry points claim, sorted."""
        return sorted(self._points())

    def owners(self, name: str) -> list[str]:
        """The packages that provide a name: one, unless there is none or they clash."""
        return self._owners(name, self._points().get(name, ()))

    def _owners(self, name: str, points: Sequence[EntryPoint]) -> list[str]:
        return [*self.others(name), *sorted(map(_package, points))]

    def load(self, name: str) -> Any:
        """What another package provides under a name; None where none does.

        Errors: P006 where several packages provide the name, P007 where it does not load or is not
        what it should be.
        """
        points = self._points().get(name, ())
        if not points:
            return None
        owners = self._owners(name, points)
        if len(owners) > 1:
            raise PipelineError(
                "P006",
                f"{' and '.join(owners)} both provide {_article(self.kind)} {name!r}",
                help=f"uninstall one of them: {', '.join(owners)}",
            )
        title = f"{self.kind} {name!r} of {owners[0]}"
        try:
            found = points[0].load()
        except (Exception, SystemExit) as error:  # whatever a plugin's import raises
            if isinstance(error, Error) and error.code == "P006":
                raise
            raise PipelineError("P007", f"{title}: {type(error).__name__}: {error}") from error
        flaw = "is None" if found is None else self.flaw(name, found)
        if flaw:
            raise PipelineError("P007", f"{title} {flaw}: {found!r}")
        return found

    def broken(self) -> dict[str, Error]:
        """Load all of them; the errors by name."""
        errors: dict[str, Error] = {}
        for name in self.names():
            try:
                self.load(name)
            except Error as error:
                errors[name] = error
        return errors

    def _points(self) -> Mapping[str, tuple[EntryPoint, ...]]:
        return _by_name(self.group, _stamp())


@lru_cache(maxsize=32)
def _by_name(group: str, stamp: Stamp) -> Mapping[str, tuple[EntryPoint, ...]]:
    """A group's entry points; one that is found twice in the same package counts once."""
    found: dict[str, dict[tuple[str, str], EntryPoint]] = {}
    for point in entry_points(group=group):
        found.setdefault(point.name, {})[point.value, _package(point)] = point
    return {name: tuple(points.values()) for name, points in found.items()}


def _stamp() -> Stamp:
    """Changes when packages come or go: the folders that are searched, and when they changed."""
    return tuple((folder, _changed(folder)) for folder in sys.path)


def _changed(folder: str) -> int:
    try:
        return os.stat(folder or ".").st_mtime_ns  # noqa: PTH116  (asked for often)
    except OSError:
        return 0


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
