"""`lutra tune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lutra.bars import bars
from lutra.output import Json, print_json

WIDE = 160
"""Columns of tables where no terminal tells its own."""


def tune(
    model: Annotated[Path, typer.Argument(help="an ONNX model")],
    calibration: Annotated[
        str, typer.Option("--calibration", "-c", help="typical inputs: data.npz:key, or data.npz")
    ],
    validation: Annotated[
        str, typer.Option("--validation", "-v", help="other inputs, to score on: data.npz:key")
    ],
    labels: Annotated[str, typer.Option("--labels", "-l", help="their classes: data.npz:key")],
    max_drop: Annotated[float, typer.Option(help="accuracy that may be lost")] = 0.01,
    p_error: Annotated[
        list[float] | None, typer.Option(help="chance of look-up errors, or several; any without")
    ] = None,
    share_results: Annotated[
        bool, typer.Option("--share-results", help="decrypted results become known: docs/security")
    ] = False,
    confidence: Annotated[float, typer.Option(help="that no more is lost on other samples")] = 0.9,
    trials: Annotated[int, typer.Option(min=1, help="pipelines to try at most")] = 150,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="processes")] = 1,
    shape: Annotated[
        list[str] | None,
        typer.Option(help="shape of an input that the model leaves open: name=1,3,32,32"),
    ] = None,
    clear: Annotated[
        list[str] | None,
        typer.Option(help="an input that is not encrypted: the server gets to know it"),
    ] = None,
    log: Annotated[Path | None, typer.Option(help="a file to go on from: trials.jsonl")] = None,
    plot: Annotated[Path | None, typer.Option(help="draw price against accuracy")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="write the chosen model")
    ] = None,
    as_json: Json = False,
) -> None:
    """Find the cheapest pipeline that keeps a model's accuracy on encrypted data."""
    import lutra
    from lutra import datafile
    from lutra.figure import check_figure
    from lutra.frontends.registry import import_source
    from lutra.pool import pool

    shapes = datafile.shapes(shape or [])
    if plot is not None:
        check_figure(plot)
    names = [node.name for node in import_source(model, shapes=shapes).main.inputs]
    with bars(Console(stderr=True)) as progress:
        found = lutra.tune(
            model,
            datafile.read(calibration, names),
            (datafile.read(validation, names), datafile.read_array(labels)),
            max_drop=max_drop,
            p_error=p_error or None,
            share_results=share_results,
            confidence=confidence,
            shapes=shapes or None,
            clear=clear or (),
            trials=trials,
            log=log,
            executor=None if jobs == 1 else pool(jobs),
            progress=progress,
        )
    if plot is not None:
        found.plot(plot)
    if output is not None:
        found.model.save(output)
    if as_json:
        print_json(found.data())
        return
    console = Console()
    (console if console.is_terminal else Console(width=WIDE)).print(found.table())
    for line in found.summary():
        typer.echo(line)
    if plot is not None:
        typer.echo(f"drawn     {plot}")
    if output is not None:
        typer.echo(f"written   {output}")
