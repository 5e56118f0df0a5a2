"""`lutra cache`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

from lutra.cache import ENDINGS, Entry
from lutra.output import Json, print_json

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Look at compiled models and test keys that are kept, and delete them.",
)


@app.command("list")
def show(as_json: Json = False) -> None:
    """List what is kept."""
    from lutra import cache

    found = list(cache.entries())
    if as_json:
        print_json(_data(found))
        return
    for entry in found:
        written = datetime.fromtimestamp(entry.written).strftime("%Y-%m-%d %H:%M")
        name = entry.path.stem[:16]
        typer.echo(f"{entry.kind:18}  {name}  {entry.size / 1e6:9.2f} MB  {written}")
    typer.echo(_total(found) + f" in {cache.folder()}")


@app.command()
def clear(
    kind: Annotated[
        list[str] | None, typer.Option("--only", help=f"one kind: {', '.join(ENDINGS)}")
    ] = None,
    as_json: Json = False,
) -> None:
    """Delete what is kept; what is being written now may be kept."""
    from lutra import cache

    gone = cache.clear(kind or tuple(ENDINGS))
    if as_json:
        print_json(_data(gone))
    else:
        typer.echo(f"deleted {_total(gone)}")


def _total(found: Sequence[Entry]) -> str:
    return f"{len(found)} entries, {sum(entry.size for entry in found) / 1e6:.2f} MB"


def _data(found: Sequence[Entry]) -> dict[str, Any]:
    from lutra.cache import folder

    rows = [
        {"kind": e.kind, "path": str(e.path), "bytes": e.size, "written": e.written} for e in found
    ]
    return {"folder": str(folder()), "entries": rows}
