"""What an experiment is: models, pipelines with grids of options, metrics, plots.

    models = ["models/*.onnx"]

    [pipelines]
    narrow = "default{weights=$w,activations=$w,rounding=none}"
    wide = "default{weights=8,rounding=$r}"

    [grid]
    w = [3, 4]
    r = [4, 5, 6]

    [metrics]
    accuracy = {}
    price = { p_error = 1e-3 }

`$w` stands for each of the grid's values of `w` in turn. A pipeline takes part in the dimensions
that it mentions, so that this file asks for 2 + 3 trials for each model. One that is for some
models only is a table: `narrow = { text = "...", models = ["digits_*"] }`.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from lutra.experiment import metrics, tables
from lutra.experiment.rows import OWN_COLUMNS
from lutra.experiment.tables import Table
from lutra.ir.errors import Error, ExperimentError, did_you_mean
from lutra.passes import Pipeline

DATA = {"calibration": "x_train", "inputs": "x_test", "labels": "y_test"}
"""Names of the arrays in a model's data file."""
SECTIONS = ("models", "data", "backend", "pipelines", "grid", "metrics", "plots")


@dataclass(frozen=True)
class Model:
    """An ONNX file, and the `.npz` file of its data.

    calibration, inputs, labels: names of arrays (samples, *shape) in the data file; a model of
    several inputs gives (input, array) pairs. samples: calibration samples to take, None for all.
    shapes: of the inputs whose axes the model leaves open. clear: names of those not encrypted.
    """

    name: str
    path: Path
    data: Path
    calibration: str | tuple[tuple[str, str], ...]
    inputs: str | tuple[tuple[str, str], ...]
    labels: str
    samples: int | None
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    clear: tuple[str, ...] = ()


@dataclass(frozen=True)
class Variant:
    """One pipeline with one value for each dimension of the grid that it mentions.

    models: patterns of the names of the models that it is for.
    """

    pipeline: str
    text: str
    parameters: tuple[tuple[str, str], ...] = ()
    models: tuple[str, ...] = ("*",)

    def is_for(self, model: Model) -> bool:
        return any(fnmatchcase(model.name, pattern) for pattern in self.models)


@dataclass(frozen=True)
class Column:
    """A metric with its options, and the results' column that it fills."""

    name: str
    metric: str
    options: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Plot:
    """One column against another, a series for each value of further ones.

    log: the axes with a logarithmic scale: x, y or xy.
    """

    x: str
    y: str
    series: tuple[str, ...] = ("model",)
    log: str = ""


@dataclass(frozen=True)
class Experiment:
    """The contents of an experiment's file."""

    path: Path
    backend: str
    models: tuple[Model, ...]
    variants: tuple[Variant, ...]
    metrics: tuple[Column, ...]
    plots: tuple[Plot, ...]

    @property
    def parameters(self) -> tuple[str, ...]:
        """Dimensions of the grid that any pipeline mentions."""
        return tuple(dict.fromkeys(name for v in self.variants for name, _ in v.parameters))

    @property
    def columns(self) -> tuple[str, ...]:
        """The results' columns, in order."""
        measured = tuple(column.name for column in self.metrics)
        return (*OWN_COLUMNS[:4], *self.parameters, *measured, *OWN_COLUMNS[4:])


def load(path: str | Path, changes: Mapping[str, Any] | None = None) -> Experiment:
    """Read an experiment's file; its paths are relative to it.

    changes: what stands in place of the file's own, for any of its sections.

    Errors: X001 where the file is wrong, X002 for an unknown metric, P001 to P007 where a pipeline
    cannot be read.
    """
    path = Path(path)
    top = tables.read(path)
    top = Table({**top.values, **(changes or {})}, top.where)
    top.only(SECTIONS)
    models = tuple(_models(top, path.parent))
    experiment = Experiment(
        path,
        top.get("backend", str, "concrete"),
        models,
        tuple(_variants(top, models)),
        tuple(_metrics(top)),
        tuple(_plots(top)),
    )
    _check_columns(experiment, top)
    return experiment


# --- models -------------------------------------------------------------------------------------
def _models(top: Table, folder: Path) -> Iterator[Model]:
    defaults = top.table("data").values
    listed = isinstance(top.values.get("models"), list)
    given = _globbed(top, folder) if listed else top.get("models", dict)
    if not given:
        top.fail("there are no models")
    for name, values in given.items():
        own = values if isinstance(values, dict) else {"path": values}
        yield _model(name, Table({**defaults, **own}, f"{top.where}: [models.{name}]"), folder)


def _globbed(top: Table, folder: Path) -> dict[str, Any]:
    """The files that a list of patterns means, by their names without ending."""
    found: dict[str, Any] = {}
    for pattern in top.get("models", list):
        whole = (folder / str(pattern)).absolute()
        paths = sorted(Path(whole.anchor).glob(str(whole.relative_to(whole.anchor))))
        if not paths:
            top.fail(f"`models`: no file matches {pattern!r}")
        for path in paths:
            if path.stem in found:
                top.fail(f"`models`: two files are named {path.stem!r}")
            found[path.stem] = str(path)
    return found


def _model(name: str, table: Table, folder: Path) -> Model:
    table.only(("path", "data", "samples", "shapes", "clear", *DATA))
    path = folder / table.get("path", str)
    data = folder / table.get("data", str) if "data" in table.values else path.with_suffix(".npz")
    for file in (path, data):
        if not file.is_file():
            table.fail(f"there is no file {file}")
    return Model(
        name,
        path,
        data,
        _arrays(table, "calibration"),
        _arrays(table, "inputs"),
        table.get("labels", str, DATA["labels"]),
        _samples(table),
        tuple(_shapes(table.table("shapes"))),
        tuple(map(str, table.get("clear", list, []))),
    )


def _samples(table: Table) -> int | None:
    samples = table.optional("samples", int)
    if samples is not None and samples < 1:
        table.fail(f"`samples` is {samples}, not 1 or more")
    return samples


def _shapes(table: Table) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name in table.values:
        sizes = table.get(name, list)
        if not all(type(size) is int and size > 0 for size in sizes):
            table.fail(f"`{name}` is {sizes!r}, not a list of sizes")
        yield name, tuple(sizes)


def _arrays(table: Table, name: str) -> str | tuple[tuple[str, str], ...]:
    value = table.values.get(name)
    if isinstance(value, dict) and all(isinstance(array, str) for array in value.values()):
        return tuple(value.items())
    return table.get(name, str, DATA[name])


# --- pipelines ----------------------------------------------------------------------------------
def _variants(top: Table, models: tuple[Model, ...]) -> Iterator[Variant]:
    shared = top.table("grid")
    pipelines = top.table("pipelines")
    if not pipelines.values:
        top.fail("there are no pipelines")
    for name, given in pipelines.values.items():
        where = f"{top.where}: [pipelines.{name}]"
        table = Table(given if isinstance(given, dict) else {"text": given}, where)
        table.only(("text", "grid", "models"))
        text = table.get("text", str)
        only = tuple(map(str, table.get("models", list, ["*"])))
        for pattern in only:
            if not any(fnmatchcase(model.name, pattern) for model in models):
                table.fail(f"no model is named {pattern!r}")
        grid = Table({**shared.values, **table.table("grid").values}, where)
        names = list(dict.fromkeys(re.findall(r"\$(\w+)", text)))
        for values in itertools.product(*(_values(grid, dimension) for dimension in names)):
            yield _variant(name, text, dict(zip(names, values, strict=True)), only, where)


def _values(grid: Table, name: str) -> list[str]:
    if name not in grid.values:
        known = list(grid.values)
        way_out = did_you_mean(name, known) if known else "add a table [grid]"
        raise ExperimentError("X001", f"{grid.where}: the grid has no {name!r}", help=way_out)
    values = grid.get(name, list)
    if not values:
        grid.fail(f"the grid has no values for {name!r}")
    return [spell(value) for value in values]


def _variant(
    name: str, text: str, parameters: Mapping[str, str], models: tuple[str, ...], where: str
) -> Variant:
    filled = re.sub(r"\$(\w+)", lambda match: parameters[match[1]], text)
    try:
        pipeline = Pipeline.parse(filled)
    except Error as error:
        message = f"{where}: {filled}: {error.message}"
        raise type(error)(error.code, message, lines=error.lines, help=error.help) from error
    return Variant(name, str(pipeline), tuple(parameters.items()), models)


def spell(value: Any) -> str:
    """A grid's value as it stands in a pipeline's text; strings stand as they are."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k)}={spell(v)}" for k, v in value.items()) + "}"
    return json.dumps(value)


# --- metrics and plots --------------------------------------------------------------------------
def _metrics(top: Table) -> Iterator[Column]:
    given = top.values.get("metrics", ["accuracy"])
    if isinstance(given, list):
        given = {str(name): {} for name in given}
    for name, values in Table({"metrics": given}, top.where).table("metrics").values.items():
        if not isinstance(values, dict):
            top.fail(f"[metrics]: `{name}` is {values!r}, not a table of options")
        options = {**values}
        metric = options.pop("metric", name)
        metrics.check(metric, options)
        yield Column(name, metric, tuple(sorted(options.items())))


def _plots(top: Table) -> Iterator[Plot]:
    for number, values in enumerate(top.get("plots", list, []), 1):
        table = Table(values, f"{top.where}: [[plots]] {number}")
        table.only(("x", "y", "series", "log"))
        listed = isinstance(table.values.get("series"), list)
        names = table.get("series", list) if listed else [table.get("series", str, "model")]
        x, y, log = table.get("x", str), table.get("y", str), table.get("log", str, "")
        yield Plot(x, y, tuple(map(str, names)) or ("model",), log)


def _check_columns(experiment: Experiment, top: Table) -> None:
    """Error X001 where two columns share a name, or a plot shows one that is not there."""
    columns = experiment.columns
    for name in columns:
        if columns.count(name) > 1:
            top.fail(f"two columns of the results would be named {name!r}")
    for plot in experiment.plots:
        check_plot(plot, experiment, f"{top.where}: [[plots]]")


def check_plot(plot: Plot, experiment: Experiment, where: str) -> None:
    """Error X001 if a plot shows a column that the results do not have, or names no axes."""
    if plot.log not in ("", "x", "y", "xy"):
        raise ExperimentError("X001", f"{where}: log is {plot.log!r}, not x, y or xy")
    for name in (plot.x, plot.y, *plot.series):
        if name not in experiment.columns:
            raise ExperimentError(
                "X001",
                f"{where}: there is no column {name!r}",
                help=did_you_mean(name, experiment.columns),
            )
