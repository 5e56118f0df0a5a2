"""`lutra cache`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import typer

from lutra.cache import ENDINGS, Entry

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Look at compiled models and test keys that are kept, and delete them.",
)

Json = Annotated[bool, typer.Option("--json", help="print one JSON object")]


@app.command("list")
def show(as_json: Json = False) -> None:
    """List what is kept."""
    from lutra import cache

    found = list(cache.entries())
    if as_json:
        typer.echo(_json(found))
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
    typer.echo(_json(gone) if as_json else f"deleted {_total(gone)}")


def _total(found: Sequence[Entry]) -> str:
    return f"{len(found)} entries, {sum(entry.size for entry in found) / 1e6:.2f} MB"


def _json(found: Sequence[Entry]) -> str:
    from lutra.cache import folder

    rows = [
        {"kind": e.kind, "path": str(e.path), "bytes": e.size, "written": e.written} for e in found
    ]
    return json.dumps({"folder": str(folder()), "entries": rows})
