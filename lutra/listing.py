"""`lutra passes` and `lutra plugins`: what there is, wherever it comes from."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from lutra.ir.errors import Error

if TYPE_CHECKING:
    from lutra.passes import Pass


def show_passes(
    name: Annotated[str | None, typer.Argument(help="one pass; all of them without")] = None,
) -> None:
    """List the passes, or show one: its options, its contract, what it does."""
    from lutra.passes import registry

    if name is None:
        for line in listed():
            typer.echo(line)
    elif name in registry.PIPELINES.names():
        typer.echo(f"{name}  (pipeline)\n\n{registry.pipeline(name)}")
    else:
        typer.echo("\n".join(described(registry.find(name))))


def show_plugins() -> None:
    """List what other packages plug in, loading all of it; the exit code is 1 if some is broken."""
    from lutra.backends.registry import BACKENDS
    from lutra.experiment.metrics import METRICS
    from lutra.frontends.registry import FRONTENDS
    from lutra.ir.registry import OPERATIONS
    from lutra.passes.registry import PASSES, PIPELINES

    failed = False
    for kind in (PASSES, PIPELINES, OPERATIONS, BACKENDS, FRONTENDS, METRICS):
        broken = kind.broken()
        failed |= bool(broken)
        for name in kind.names():
            error = broken.get(name)
            state = "loads" if error is None else f"{error.code}: {error.message}"
            owners = "+".join(kind.owners(name))
            typer.echo(f"{kind.kind:8}  {name:16}  {owners:16}  {state}")
    if failed:
        raise typer.Exit(1)


def listed() -> Iterator[str]:
    """Lines for each pass and each plugin's pipeline; a broken one has its error there."""
    from lutra.passes import registry

    for name in registry.names():
        owners = "+".join(registry.PASSES.owners(name))
        try:
            cls = registry.find(name)
        except Error as error:
            yield _row(name, "broken", owners, f"{error.code}: {error.message}")
            continue
        yield _row(name, str(cls.contract), owners, " ".join(_doc(cls).split("\n\n")[0].split()))
        options = ",".join(_options(cls))
        if options:
            yield f"  {{{options}}}"
    for name in registry.PIPELINES.names():
        owners = "+".join(registry.PIPELINES.owners(name))
        try:
            yield _row(name, "pipeline", owners, registry.pipeline(name) or "")
        except Error as error:
            yield _row(name, "broken", owners, f"{error.code}: {error.message}")


def _row(name: str, contract: str, owner: str, what: str) -> str:
    return f"{name:16}  {contract:12}  {owner:8}  {what}".rstrip()


def described(cls: type[Pass]) -> Iterator[str]:
    """A pass: contract, docstring, options with their defaults, facts, package."""
    from lutra.passes import registry

    yield from (f"{cls.name}  ({cls.contract})", "", _doc(cls))
    options = [f"  {option}" for option in _options(cls, " = ")]
    if options:
        yield from ("", "options:", *options)
    for title, facts in (("requires", cls.requires), ("provides", cls.provides)):
        if facts:
            yield f"{title}: {', '.join(sorted(facts))}"
    others = [owner for owner in registry.PASSES.owners(cls.name) if owner != "lutra"]
    if others:
        yield f"package: {', '.join(others)}"


def _options(cls: type[Pass], sign: str = "=") -> Iterator[str]:
    for field in dataclasses.fields(cls):
        yield f"{field.name}{sign}{_spelled(field.default)}"


def _spelled(default: object) -> str:
    """A default as pipelines spell it."""
    return str(default).lower() if default is None or isinstance(default, bool) else str(default)


def _doc(cls: type[Pass]) -> str:
    return inspect.getdoc(cls) or ""
