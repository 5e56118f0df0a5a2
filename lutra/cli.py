"""The command line: `lutra compile`, `run`, `inspect`, `tune`, `opt` and others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from lutra.archive import check_writable
from lutra.bars import bars
from lutra.caching import app as cache
from lutra.experiment.cli import app as experiment
from lutra.ir.errors import Error
from lutra.listing import show_passes, show_plugins
from lutra.opt import opt
from lutra.output import Json, print_json, show_log
from lutra.page import cli as report
from lutra.page import export
from lutra.quantizing import command as quantize
from lutra.serving.cli import demo, serve
from lutra.signature import Form
from lutra.tuning.cli import tune

if TYPE_CHECKING:
    from lutra.model import Model
    from lutra.report import Report

SHOWN = 10
"""Rows of results that `run` prints."""
WIDE = 140
"""Columns of tables where no terminal tells its own."""


class _Group(typer.core.TyperGroup):
    """Commands whose errors are messages: what the user can act on comes without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Error as error:
            typer.echo(error.render(), err=True)
        except OSError as error:
            typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1)


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Compile ONNX models into circuits that run on encrypted data.",
)

app.command("quantize")(quantize)
app.command()(opt)
app.command("passes")(show_passes)
app.command("plugins")(show_plugins)
app.command()(serve)
app.command()(demo)
app.command()(tune)
app.command("report")(report.command)
app.command("export")(export.command)
app.add_typer(experiment, name="experiment")
app.add_typer(cache, name="cache")

Data = Annotated[
    str, typer.Argument(help="data.npz:key, or data.npz with one array for each input")
]
Artifact = Annotated[Path, typer.Argument(help="a model that `lutra compile` wrote")]


@app.callback(invoke_without_command=True)
def main(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="tell of every step; -vv of passes")
    ] = 0,
) -> None:
    show_log(verbose)
    if version:
        import lutra

        typer.echo(f"lutra {lutra.__version__}")
        raise typer.Exit


@app.command()
def compile(
    model: Annotated[Path, typer.Argument(help="an ONNX model")],
    calibration: Annotated[
        str | None,
        typer.Option("--calibration", "-c", help="typical inputs: data.npz:key, or data.npz"),
    ] = None,
    pipeline: Annotated[
        str, typer.Option("--pipeline", "-p", help="passes with options; see `lutra passes`")
    ] = "default",
    backend: Annotated[
        str, typer.Option("--backend", "-b", help="what will run the circuit")
    ] = "concrete",
    p_error: Annotated[float | None, typer.Option(help="chance that one look-up is off")] = None,
    global_p_error: Annotated[
        float | None, typer.Option(help="chance that any look-up of a sample is off")
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(help="shape of an input that the model leaves open: name=1,3,32,32"),
    ] = None,
    clear: Annotated[
        list[str] | None,
        typer.Option(help="an input that is not encrypted: the server gets to know it"),
    ] = None,
    cached: Annotated[
        bool,
        typer.Option("--cache", help="take it from the cache, or keep it there"),
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="where to write the compiled model")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compile an ONNX model and save it."""
    import lutra
    from lutra import datafile
    from lutra.frontends.registry import import_source

    target = output or Path(model.stem + ".lutra")
    check_writable(target)
    module = import_source(model, shapes=datafile.shapes(shape or []))
    names = [node.name for node in module.main.inputs]
    with bars(Console(stderr=True)) as progress:
        compiled = lutra.compile(
            module,
            None if calibration is None else datafile.read(calibration, names),
            pipeline,
            backend=backend,
            p_error=p_error,
            global_p_error=global_p_error,
            clear=clear or (),
            cache=cached,
            progress=progress,
        )
    compiled.save(target)
    report = compiled.report(price=False)
    if as_json:
        print_json({**report.data(), "written": str(target)})
        return
    _show(report)
    typer.echo(f"written   {target}")


@app.command()
def run(
    model: Artifact,
    data: Data,
    mode: Annotated[str, typer.Option("--mode", "-m", help="clear, simulate or encrypt")] = "clear",
    samples: Annotated[
        int | None, typer.Option("--samples", "-n", min=1, help="take the first of them only")
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs", "-j", min=1, help="processes for encrypted samples; what pays without"
        ),
    ] = None,
    insecure_test_keys: Annotated[
        bool,
        typer.Option(
            "--insecure-test-keys", help="encrypt with keys that the cache holds in the clear"
        ),
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="an .npz file for the results")
    ] = None,
    as_json: Json = False,
) -> None:
    """Predict with a compiled model: in the clear, simulated, or really encrypted."""
    import numpy as np

    import lutra
    from lutra import datafile

    if output is not None:
        check_writable(output)
    with bars(Console(stderr=True)) as progress:
        loaded = lutra.load(model, progress=progress)
        names = [port.name for port in loaded.signature.inputs]
        inputs = _first(loaded, datafile.read(data, names), samples)
        if insecure_test_keys and mode == "encrypt":
            loaded.keygen(insecure_test_keys=True)
        predicted = loaded.predict(inputs, mode, executor=jobs)  # type: ignore[arg-type]
    arrays = predicted if isinstance(predicted, tuple) else (predicted,)
    found = {port.name: a for port, a in zip(loaded.signature.outputs, arrays, strict=True)}
    if output is not None:
        with output.open("wb") as stream:
            np.savez(stream, **found)
    if as_json:
        print_json({"mode": mode, "outputs": found, "violations": loaded.violations})
        return
    for name, array in found.items():
        typer.echo(f"{name}: {array.dtype}{list(array.shape)}")
        typer.echo(np.array2string(array[:SHOWN] if array.ndim else array, precision=4))
        if array.ndim and len(array) > SHOWN:
            typer.echo(f"... {len(array) - SHOWN} more")
    for layer, count in loaded.violations.items():
        typer.echo(f"{layer}: {count} value(s) left the range that calibration observed", err=True)


@app.command()
def inspect(
    model: Annotated[Path, typer.Argument(help="a compiled model; a model with --sensitivity")],
    price: Annotated[
        bool, typer.Option(help="let the backend emit the circuit and tell what it costs")
    ] = True,
    text: Annotated[bool, typer.Option("--text", help="print the IR instead")] = False,
    sensitivity: Annotated[
        bool, typer.Option("--sensitivity", help="show instead what each layer's bits lose")
    ] = False,
    calibration: Annotated[
        str | None, typer.Option("--calibration", "-c", help="--sensitivity: typical inputs")
    ] = None,
    pipeline: Annotated[
        str, typer.Option("--pipeline", "-p", help="--sensitivity: `default` with options")
    ] = "default",
    data: Annotated[
        str | None, typer.Option(help="--sensitivity: inputs to measure on, data.npz:key")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="--sensitivity: classes of --data, data.npz:key")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="--sensitivity: a file to draw into")] = None,
    as_json: Json = False,
) -> None:
    """Show what a compiled model computes and what each layer costs."""
    import lutra

    if sensitivity:
        _show_sensitivity(model, calibration, pipeline, data, labels, plot, as_json)
        return
    with bars(Console(stderr=True)) as progress:
        loaded = lutra.load(model, progress=progress)
        shown = str(loaded.module) if text else loaded.report(price=price)
    if isinstance(shown, str):
        print_json({"text": shown}) if as_json else typer.echo(shown)
    elif as_json:
        print_json(shown.data())
    else:
        _show(shown)


def _show_sensitivity(
    model: Path,
    calibration: str | None,
    pipeline: str,
    data: str | None,
    labels: str | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    from lutra import datafile
    from lutra.figure import check_figure
    from lutra.frontends.registry import import_source
    from lutra.sensitivity import analyze

    if plot is not None:
        check_figure(plot)
    module = import_source(model)
    names = [node.name for node in module.main.inputs]
    with bars(Console(stderr=True)) as progress:
        found = analyze(
            module,
            None if calibration is None else datafile.read(calibration, names),
            pipeline,
            inputs=None if data is None else datafile.read(data, names),
            labels=None if labels is None else datafile.read_array(labels),
            progress=progress,
        )
    if plot is not None:
        found.plot(plot)
    if as_json:
        print_json({"pipeline": found.pipeline, "costs": list(map(asdict, found.costs))})
        return
    console = Console()
    (console if console.is_terminal else Console(width=WIDE)).print(found.table())
    if plot is not None:
        typer.echo(f"drawn     {plot}")


def _first(model: Model, data: Any, count: int | None) -> Any:
    """The first samples of the inputs."""
    batch = model.signature.arrange(data)
    if count is None or batch.form is Form.SINGLE:
        return data
    if not isinstance(data, Mapping):
        return data[:count]
    return {k: a[:count] if len(a) == batch.samples else a for k, a in data.items()}


def _show(report: Report) -> None:
    """Print a report as wide as the terminal, or as it is."""
    console = Console()
    if console.is_terminal:
        console.print(report)
    else:
        typer.echo(str(report))
