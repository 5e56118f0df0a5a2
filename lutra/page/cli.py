"""`lutra report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lutra.bars import bars


def command(
    model: Annotated[Path, typer.Argument(help="a model that `lutra compile` wrote")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="the page to write: report.html")
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", "-d", help="inputs to look at: data.npz:key")
    ] = None,
    labels: Annotated[
        str | None, typer.Option("--labels", "-l", help="their classes: data.npz:key")
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--model", help="the ONNX model that was compiled")
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option("--calibration", "-c", help="what --model was calibrated with"),
    ] = None,
    encrypted: Annotated[
        int, typer.Option(min=0, help="how many samples of --data to really encrypt")
    ] = 0,
) -> None:
    """Write a page about a compiled model: circuit, layers, prices, accuracy, pipeline.

    --data and --labels add histograms and the accuracy of each step, --model and --calibration the
    float model's accuracy and the passes' timings.
    """
    import lutra
    from lutra import datafile
    from lutra.page.evidence import Evidence
    from lutra.page.page import write

    target = output or model.with_suffix(".html")
    with bars(Console(stderr=True)) as progress:
        loaded = lutra.load(model, progress=progress)
        names = [port.name for port in loaded.signature.inputs]
        evidence = Evidence(
            inputs=None if data is None else datafile.read(data, names),
            labels=None if labels is None else datafile.read_array(labels),
            source=source,
            calibration=None if calibration is None else datafile.read(calibration, names),
            encrypted=encrypted,
        )
        write(loaded, target, evidence)
    typer.echo(f"written   {target}")
