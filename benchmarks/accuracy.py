"""Accuracy and price of the example models, for few bits and for many.

    python -m benchmarks.accuracy                   # the grid of accuracy.toml
    python -m benchmarks.accuracy --quick
    python -m benchmarks.accuracy --bars --models FOLDER --zoo FOLDER
    python -m benchmarks.accuracy --ablate

One table for each model: a row for each pair of bits of weights and activations, a column for the
bits that rounding keeps at look-ups; in a cell the accuracy in percent, the bits of the widest
look-up's input, those of the widest value, and the price in 1e9 of Concrete's unit, of which some
5 take one second of one core. The price is predicted; `--price` asks Concrete, a second a trial.

Trials are those of an experiment (see docs/experiments.md): rows are kept in `benchmarks/results`,
and what is there already is not run again. `--bars` prints what has to be reached, and ends with
status 1 where it is not; `--ablate` what each technique is worth. With `--write` the tables of
docs/accuracy.md are written.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from math import isfinite
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import ablations, bars
from benchmarks.results import results_for
from lutra.experiment import run_experiment, show
from lutra.experiment.plot import draw
from lutra.experiment.rows import Row
from lutra.experiment.spec import Experiment, load

FILE = Path(__file__).with_suffix(".toml")
PAGE = FILE.parents[1] / "docs" / "accuracy.md"
WIDTH = 140
"""Columns of what is printed."""
QUICK = {"w": [2, 3, 4], "a": [3, 6], "r": ["none", 4, 6]}
"""The part of the grid that takes less than a minute."""

METRICS = {name: {} for name in ("accuracy", "float_accuracy", "pbs", "lookup_bits", "value_bits")}


def tables(rows: Sequence[Row]) -> Iterator[Table]:
    """One table for each model."""
    for model in dict.fromkeys(row["model"] for row in rows):
        yield _table(str(model), [row for row in rows if row["model"] == model])


def _table(model: str, rows: Sequence[Row]) -> Table:
    exact = next((row["float_accuracy"] for row in rows if "float_accuracy" in row), "")
    drawn = Table(title=f"{model}, float {100 * float(exact or 0):.1f} %", title_justify="left")
    drawn.add_column("w a")
    kept = list(dict.fromkeys(row["r"] for row in rows))
    for r in kept:
        drawn.add_column("in full" if r == "none" else f"{r} bits", justify="right")
    cells = {(row.get("w", ""), row.get("a", ""), row["r"]): _cell(row) for row in rows}
    for w, a in dict.fromkeys((w, a) for w, a, _ in cells):
        drawn.add_row(f"{w} {a}", *(cells.get((w, a, r), "") for r in kept))
    return drawn


def _cell(row: Row) -> str:
    if "accuracy" not in row:
        return str(row.get("error", ""))
    price = f" {float(row['price']) / 1e9:.1f}" if "price" in row else ""
    bits = f"{row['lookup_bits']} {row['value_bits']}"
    return f"{100 * float(row['accuracy']):.1f} {bits}{price}"


def grid(
    chosen: Experiment, *, executor: Executor | None = None, jobs: int | None = None
) -> list[Row]:
    """Run the trials that are missing, print the tables and draw the plots."""
    console = Console(width=WIDTH)
    progress = Console(stderr=True)

    def watch(row: Row, done: int, total: int) -> None:
        if done % 50 == 0 or done == total:
            progress.print(f"{done} of {total} trials")

    where = results_for(chosen)
    rows = run_experiment(chosen, where, executor=executor, jobs=jobs, progress=watch)
    for table in tables(rows):
        console.print(table)
    for plot in chosen.plots:
        path = where.with_name(f"{where.stem}-{plot.x}-{plot.y}.png")
        console.print(f"{path}: {draw(plot, rows, path, chosen.parameters)} points")
    return rows


def cheapest(rows: Sequence[Row]) -> Iterator[str]:
    """A Markdown table: the cheapest trials of each model within 1 and 3 points of the floats."""
    yield "| model | float | points | weights | activations | rounding | accuracy | price |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    priced = (row for row in rows if "price" in row and "accuracy" in row)
    measured = [row for row in priced if isfinite(float(row["price"]))]  # else no parameters
    for model, points in itertools.product(dict.fromkeys(row["model"] for row in rows), (1, 3)):
        good = [row for row in measured if row["model"] == model and _lost(row) <= points]
        if good:
            row = min(good, key=lambda row: (float(row["price"]), -float(row["accuracy"])))
            accuracies = [f"{float(row[name]):.3f}" for name in ("float_accuracy", "accuracy")]
            bits = [str(row[name]) for name in ("w", "a", "r")]
            cells = [str(model), accuracies[0], str(points), *bits, accuracies[1]]
            yield "| " + " | ".join([*cells, f"{float(row['price']):.2g}"]) + " |"


def _lost(row: Row) -> float:
    """Points of accuracy."""
    return round(100 * (float(row["float_accuracy"]) - float(row["accuracy"])), 6)


def check_bars(
    folders: Sequence[Path],
    *,
    write: bool = False,
    executor: Executor | None = None,
    jobs: int | None = None,
) -> bool:
    """Print the bars, and whether they are met; returns whether all are."""
    console = Console(width=WIDTH)
    found = list(bars.bars(executor, jobs))
    lines = list(bars.lines(found))
    print("\n".join(lines))
    if write:
        write_between("bars", lines)
    met = all(bar.met(row) for bar, row in found)
    trained = bars.trained(folders, bars.AS_TRAINED)
    if trained is not None:
        where = results_for(trained)
        rows = run_experiment(trained, where, executor=executor, jobs=jobs)
        console.print(show.table(rows, trained.columns))
        met = met and all(row.get("equal") == 1 for row in rows)
    console.print("all bars are met" if met else "bars are MISSED")
    return met


def write_between(name: str, lines: Sequence[str]) -> None:
    """Put lines between the marks of that name in docs/accuracy.md."""
    text = PAGE.read_text(encoding="utf-8")
    start, end = f"<!-- measured: {name} -->\n", "<!-- end -->"
    before, rest = text.split(start)
    after = rest[rest.index(end) :]
    PAGE.write_text(before + start + "\n".join(lines) + "\n" + after, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--quick", action="store_true", help="a part of the grid")
    parser.add_argument("--bars", action="store_true", help="only what has to be reached")
    parser.add_argument("--price", action="store_true", help="ask the backend for prices")
    parser.add_argument("--models", type=Path, help="a folder with models trained to few bits")
    parser.add_argument("--zoo", type=Path, help="another one")
    parser.add_argument("--jobs", "-j", type=int, default=1, help="processes to take")
    parser.add_argument("--ablate", action="store_true", help="change one technique at a time")
    parser.add_argument("--write", action="store_true", help="... and write docs/accuracy.md")
    options = parser.parse_args()
    folders = [folder for folder in (options.models, options.zoo) if folder is not None]
    if options.bars:
        sys.exit(0 if check_bars(folders, write=options.write, jobs=options.jobs) else 1)
    changes = {"metrics": METRICS | {"price": {}}} if options.price else {}
    if options.ablate:
        table = list(ablations.lines(ablations.run(options.quick, jobs=options.jobs)))
        print("\n".join(table))
        if options.write:
            write_between("ablations", table)
        return
    chosen = load(FILE, changes | ({"grid": QUICK} if options.quick else {}))
    lines = list(cheapest(grid(chosen, jobs=options.jobs)))
    print("\n".join(lines))
    if options.write:
        write_between("cheapest", lines)
    trained = bars.trained(folders, changes)
    if trained is not None:
        grid(trained, jobs=options.jobs)


if __name__ == "__main__":
    main()
