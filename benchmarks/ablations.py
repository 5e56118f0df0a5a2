"""What each technique of quantization is worth: one changed at a time, on both roads."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from benchmarks.results import FOLDER, results_for
from lutra.experiment import run_experiment
from lutra.experiment.rows import Row
from lutra.experiment.spec import Experiment, load
from lutra.passes import Pass, Pipeline
from lutra.passes.fit_tables import FitTables
from lutra.passes.fuse import FuseRegions

FILE = Path(__file__).with_suffix(".toml")
SEEDS = 3
CALIBRATION, HELD_OUT = 512, 1000
"""Samples of the training set to calibrate with, and to compare with the float model on."""
AS_IT_IS = "as it is"

Change: TypeAlias = Callable[[Pass], Pass | None]
"""What becomes of a pass; None drops it."""


def option(name: str, **options: object) -> Change:
    """Passes of that name with other options."""
    return lambda item: dataclasses.replace(item, **options) if item.name == name else item


def each(*changes: Change) -> Change:
    """One change after the other."""

    def change(item: Pass) -> Pass | None:
        changed: Pass | None = item
        for one in changes:
            changed = None if changed is None else one(changed)
        return changed

    return change


CHANGES: dict[str, Change] = {
    AS_IT_IS: lambda item: item,
    "without error compensation": option("fit-weights", compensate=False),
    "without search for scales": option("fit-weights", search=False),
    "without bias correction": option("fit-weights", correct_bias=False),
    "without the float model as target": option("fit-weights", float_target=False),
    "without filling of accumulators": option("fit-weights", fill=False),
    "without stretching at rounding": option("round", stretch=False),
    "without filling and stretching": each(
        option("fit-weights", fill=False), option("round", stretch=False)
    ),
    "without scales of channels": each(
        option("fit-weights", per_channel=False), option("quantize", per_channel=False)
    ),
    "with asymmetric weights": option("fit-weights", symmetric=False),
    "without centering": lambda item: None if item.name == "center" else item,
    "without derived margins (10 %)": each(
        option("fit-weights", margin=0.1), option("ranges", margin=0.1)
    ),
    "with fitted tables": lambda item: FitTables() if isinstance(item, FuseRegions) else item,
    "without derived margins (30 %)": each(
        option("fit-weights", margin=0.3), option("ranges", margin=0.3)
    ),
    "with ranges by minmax": option("calibrate", method="minmax"),
    "with ranges by percentile": option("calibrate", method="percentile"),
    "with ranges by mse": option("calibrate", method="mse"),
    "with ranges by entropy": option("calibrate", method="entropy"),
    "with ranges by measured error": option("calibrate", method="auto"),
}


def changed(pipeline: Pipeline, change: Change) -> str:
    """The text of a pipeline's passes with a change."""
    items = (change(item) for item in pipeline.flat())
    return str(Pipeline(tuple(item for item in items if item is not None)))


def experiment(quick: bool = False) -> Experiment:
    """Every change of every pipeline, on several calibration sets of each model."""
    base = load(FILE)
    pipelines = {
        f"{variant.pipeline}/{name}": changed(Pipeline.parse(variant.text), change)
        for variant in base.variants
        for name, change in CHANGES.items()
    }
    models = {}
    for model, seed in itertools.product(base.models, range(1 if quick else SEEDS)):
        for part, data in zip(("train", "test"), _splits(model.data, seed), strict=True):
            if part == "train" or not seed:
                name = f"{model.name}/{part}/{seed}"
                models[name] = {"path": str(model.path), "data": str(data)}
    return load(FILE, {"models": models, "pipelines": pipelines})


def _splits(data: Path, seed: int) -> tuple[Path, Path]:
    """Files with a random part of the training set to calibrate with.

    To measure on, one has the rest of the training set, the other the test set.
    """
    with np.load(data) as arrays:
        found = {name: arrays[name] for name in ("x_train", "y_train", "x_test", "y_test")}
    order = np.random.default_rng(seed).permutation(len(found["x_train"]))
    count = min(CALIBRATION, 2 * len(order) // 3)
    chosen, rest = order[:count], order[count : count + HELD_OUT]
    held_out = {"x_test": found["x_train"][rest], "y_test": found["y_train"][rest]}
    paths = []
    FOLDER.mkdir(exist_ok=True)
    for part, measured in (("train", held_out), ("test", found)):
        path = FOLDER / f"{data.stem}-{part}-{seed}.npz"
        arrays = {name: measured[name] for name in ("x_test", "y_test")}
        np.savez(path, x_train=found["x_train"][chosen], **arrays)
        paths.append(path)
    return paths[0], paths[1]


def run(
    quick: bool = False, executor: Executor | None = None, jobs: int | None = None
) -> list[Row]:
    """Rows of all trials; those that are missing are run."""
    chosen = experiment(quick)
    return run_experiment(chosen, results_for(chosen), executor=executor, jobs=jobs)


HEAD = ("apart", "error", "right", "price")


def lines(rows: Sequence[Row]) -> Iterator[str]:
    """Markdown tables, one for each road: a row for each change, four columns for each pipeline."""
    pipelines = dict.fromkeys(_parts(row)[0] for row in rows)
    for road, names in itertools.groupby(pipelines, lambda name: name.split("-")[0]):
        yield from ["", *_table(rows, road, list(names)), ""]


def _table(rows: Sequence[Row], road: str, pipelines: Sequence[str]) -> Iterator[str]:
    head = [road, *(f"{name}: {what}" for name in pipelines for what in HEAD)]
    yield "| " + " | ".join(head) + " |"
    yield "| --- |" + " ---: |" * (len(head) - 1)
    usual = {name: _measured(rows, name, AS_IT_IS) for name in pipelines}
    nothing = []
    for change in CHANGES:
        found = {name: _measured(rows, name, change) for name in pipelines}
        if change == AS_IT_IS or found != usual:
            cells = (cell for name in pipelines for cell in found[name].cells(usual[name]))
            yield "| " + " | ".join([change, *cells]) + " |"
        else:
            nothing.append(change)
    if nothing:
        yield ""
        yield f"No difference at all {', '.join(nothing)}."


@dataclass(frozen=True)
class Measured:
    """What a change of a pipeline gave on every model and calibration set, by their names.

    apart: percent of held-out training samples of another class than the float model's.
    error: of outputs, relative to the float model's. price: predicted. right: percent of test
    samples, with one calibration set.
    """

    apart: dict[str, float]
    error: dict[str, float]
    price: dict[str, float]
    right: dict[str, float]

    def cells(self, usual: Measured) -> Iterator[str]:
        """Mean, ratio with standard error of its logarithm, mean, ratio."""
        yield f"{_mean(self.apart):.1f}"
        ratio, spread = _ratio(self.error, usual.error)
        yield f"{ratio:.2f}" + (f" ± {spread:.2f}" if self is not usual and spread else "")
        yield f"{_mean(self.right):.1f}"
        yield f"{_ratio(self.price, usual.price)[0]:.2f}"


def _mean(values: Mapping[str, float]) -> float:
    return float(np.mean([*values.values()]))


def _ratio(values: Mapping[str, float], usual: Mapping[str, float]) -> tuple[float, float]:
    """Geometric mean of the ratios, and its standard error."""
    logs = [math.log(values[k] / usual[k]) for k in values if values[k] > 0 and usual[k] > 0]
    if not logs:
        return math.nan, math.nan
    mean = math.exp(float(np.mean(logs)))
    return mean, mean * float(np.std(logs)) / math.sqrt(len(logs))


def _measured(rows: Sequence[Row], pipeline: str, change: str) -> Measured:
    found = [row for row in rows if _parts(row) == (pipeline, change) and "agreement" in row]
    train = {str(row["model"]): row for row in found if "/train/" in str(row["model"])}
    test = {str(row["model"]): row for row in found if "/test/" in str(row["model"])}
    return Measured(
        {name: 100 * (1 - float(row["agreement"])) for name, row in train.items()},
        {name: float(row["rms_error"]) for name, row in train.items()},
        {name: float(row["price"]) for name, row in train.items()},
        {name: 100 * float(row["accuracy"]) for name, row in test.items()},
    )


def _parts(row: Row) -> tuple[str, str]:
    pipeline, _, change = str(row["pipeline"]).partition("/")
    return pipeline, change
