"""`lutra experiment`: run an experiment's trials, and show what they gave."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from lutra.bars import bars

if TYPE_CHECKING:
    from rich.table import Table

    from lutra.experiment.rows import Row
    from lutra.experiment.spec import Experiment, Plot

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Put models through pipelines and measure them.",
)

File = Annotated[Path, typer.Argument(help="an experiment, a TOML file")]
Results = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="results, .csv or .parquet; else FILE's name with .csv"),
]


@app.command("run")
def run_command(
    file: File,
    results: Results = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="processes to take")] = 1,
    retry: Annotated[bool, typer.Option("--retry", help="run failed trials again")] = False,
) -> None:
    """Run the trials without a row in the results. Each writes its row when it ends.

    The exit status is 1 where all of the experiment's trials have failed.
    """
    from lutra.experiment.run import default_results, run_experiment
    from lutra.experiment.spec import load

    experiment = load(file)
    with bars(Console(stderr=True)) as progress:

        def show(row: Row, done: int, total: int) -> None:
            if progress is not None:
                progress("trials", done, total)
            if "error" in row:
                what = f"{row['model']}, {row['text']}"
                typer.echo(f"{what}: error[{row['error']}]: {row['message']}", err=True)

        rows = run_experiment(experiment, results, jobs=jobs, retry=retry, progress=show)
    failed = sum("error" in row for row in rows)
    typer.echo(f"{len(rows)} trials, {failed} failed: {results or default_results(experiment)}")
    if rows and failed == len(rows):
        raise typer.Exit(1)


@app.command("show")
def show_command(
    file: File,
    results: Results = None,
    plot: Annotated[
        list[str] | None, typer.Option("--plot", "-p", help="X:Y, two columns; may be repeated")
    ] = None,
    series: Annotated[str, typer.Option(help="columns that tell series apart: A,B")] = "model",
    log: Annotated[str, typer.Option(help="logarithmic axes: x, y or xy")] = "",
    figures: Annotated[
        Path | None, typer.Option(help="folder of the plots; else that of the results")
    ] = None,
    format: Annotated[str, typer.Option(help="png, svg or pdf")] = "png",
) -> None:
    """Print the trials' rows as a table, and draw the plots that FILE or --plot asks for."""
    from lutra.experiment.plot import draw
    from lutra.experiment.run import default_results
    from lutra.experiment.show import table
    from lutra.experiment.spec import load

    experiment = load(file)
    path = results or default_results(experiment)
    asked = [_plot(text, series, log, experiment) for text in plot or ()]
    rows = _rows(experiment, path)
    _print(table(rows, experiment.columns))
    for one in asked or experiment.plots:
        target = (figures or path.parent) / f"{path.stem}-{one.x}-{one.y}.{format}"
        count = draw(one, rows, target, experiment.parameters)
        typer.echo(f"{target}: {count} points")


def _rows(experiment: Experiment, path: Path) -> list[Row]:
    """The trials' rows; where there are none, the last ones of the same model and pipeline."""
    from lutra.experiment.results import results_at
    from lutra.experiment.trial import trials

    stored = results_at(path).read()
    alike = {(row["model"], row["pipeline"], row["text"]): row for row in stored.values()}
    wanted = trials(experiment)
    names = [(trial.model.name, trial.variant.pipeline, trial.variant.text) for trial in wanted]
    found = [stored.get(t.key) or alike.get(name) for t, name in zip(wanted, names, strict=True)]
    stale = sum(trial.key not in stored for trial in wanted) - found.count(None)
    if found.count(None):
        typer.echo(f"{found.count(None)} of {len(wanted)} trials have not run yet")
    if stale:
        typer.echo(f"{stale} of {len(wanted)} rows are of other versions, data or metrics")
    return [row for row in found if row is not None]


def _print(drawn: Table) -> None:
    """At the terminal's width, or as wide as it gets where there is none."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=Console(width=10_000).measure(drawn).maximum)
    console.print(drawn)


def _plot(text: str, series: str, log: str, experiment: Experiment) -> Plot:
    from lutra.experiment.spec import Plot, check_plot

    x, _, y = text.partition(":")
    plot = Plot(x, y, tuple(series.split(",")), log)
    check_plot(plot, experiment, f"--plot {text}")
    return plot
