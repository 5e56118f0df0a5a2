"""`lutra experiment`: run an experiment's trials, and show what they gave."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from lutra.experiment import plot as plots
from lutra.experiment.results import results_at
from lutra.experiment.rows import Row
from lutra.experiment.run import default_results, run_experiment
from lutra.experiment.show import table
from lutra.experiment.spec import Experiment, Plot, check_plot, load
from lutra.experiment.trial import trials

app = typer.Typer(no_args_is_help=True, help="Run experiments: models x pipelines, measured.")

File = Annotated[Path, typer.Argument(help="The experiment, a TOML file.", show_default=False)]
Output = Annotated[
    Path | None,
    typer.Option("--results", "-o", help="Results, .csv or .parquet; FILE's name by default."),
]


@app.command("run")
def run_command(
    file: File,
    results: Output = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="Processes.", min=1)] = 1,
    retry: Annotated[bool, typer.Option(help="Run failed trials again.")] = False,
) -> None:
    """Run the trials that have no row in the results yet; each gets its row when it ends."""
    experiment = load(file)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    ) as bar:
        task = bar.add_task("trials", total=None)

        def show(row: Row, done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)
            if "error" in row:
                where = f"{row['model']}, {row['text']}"
                bar.console.print(f"{where}: {row['error']}: {row['message']}", markup=False)

        rows = run_experiment(experiment, results, jobs=jobs, retry=retry, progress=show)
        bar.update(task, completed=len(rows), total=len(rows))
    failed = sum("error" in row for row in rows)
    path = results or default_results(experiment)
    print(f"{len(rows)} trials, {failed} failed: {path}")


@app.command("show")
def show_command(
    file: File,
    results: Output = None,
    plot: Annotated[
        list[str] | None, typer.Option("--plot", "-p", help="X:Y, two columns; may be repeated.")
    ] = None,
    series: Annotated[str, typer.Option(help="Columns that tell series apart: A,B.")] = "model",
    log: Annotated[str, typer.Option(help="Logarithmic axes: x, y or xy.")] = "",
    figures: Annotated[
        Path | None, typer.Option(help="Folder of the plots; that of the results by default.")
    ] = None,
    format: Annotated[str, typer.Option(help="png, svg or pdf.")] = "png",
) -> None:
    """Print the table of the trials that have rows, and draw the plots that FILE names."""
    experiment = load(file)
    path = results or default_results(experiment)
    rows = _rows(experiment, path)
    _print(table(rows, experiment.columns))
    asked = [_plot(text, series, log, experiment) for text in plot or ()]
    for one in asked or experiment.plots:
        target = (figures or path.parent) / f"{path.stem}-{one.x}-{one.y}.{format}"
        count = plots.draw(one, rows, target, experiment.parameters)
        print(f"{target}: {count} points")


def _rows(experiment: Experiment, path: Path) -> list[Row]:
    """The trials' rows; where there are none, the last ones of the same model and pipeline."""
    stored = results_at(path).read()
    alike = {(row["model"], row["text"]): row for row in stored.values()}
    wanted = trials(experiment)
    found = [
        stored.get(trial.key) or alike.get((trial.model.name, trial.variant.text))
        for trial in wanted
    ]
    rows = [row for row in found if row is not None]
    stale = sum(trial.key not in stored for trial in wanted) - found.count(None)
    if found.count(None):
        print(f"{found.count(None)} of {len(wanted)} trials have not run yet")
    if stale:
        print(f"{stale} of {len(wanted)} rows are of other versions, data or metrics")
    return rows


def _print(drawn: Table) -> None:
    """At the terminal's width, or as wide as it gets where there is none."""
    console = Console()
    wide = Console(width=10_000)
    if not console.is_terminal:
        console = Console(width=wide.measure(drawn).maximum)
    console.print(drawn)


def _plot(text: str, series: str, log: str, experiment: Experiment) -> Plot:
    x, _, y = text.partition(":")
    plot = Plot(x, y, tuple(series.split(",")), log)
    check_plot(plot, experiment, f"--plot {text}")
    return plot
