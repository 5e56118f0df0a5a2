"""One trial: one model through one pipeline, measured."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any

import numpy as np

from lutra.backends import registry
from lutra.clear import leave_clear
from lutra.experiment import metrics
from lutra.experiment.metrics import Compiled
from lutra.experiment.rows import Row, number
from lutra.experiment.spec import Column, Experiment, Model, Variant
from lutra.experiment.versions import versions
from lutra.frontends.registry import import_source
from lutra.ir.core import Module
from lutra.ir.errors import Error, ExperimentError, did_you_mean
from lutra.ir.program import Program
from lutra.ir.types import Array
from lutra.passes import Context, Pipeline
from lutra.pricing import prices_for
from lutra.signature import Signature


@dataclass(frozen=True)
class Trial:
    """All that a worker needs to run a trial.

    content: a digest of whatever may change the result: trials of one content measure the same.
    """

    model: Model
    variant: Variant
    metrics: tuple[Column, ...]
    backend: str
    versions: str
    content: str

    @property
    def key(self) -> str:
        """The trial's name in the results: its content, and what it is called."""
        names = [self.model.name, self.variant.pipeline, self.variant.parameters]
        return f"{self.content}-{_digest(json.dumps(names).encode())[:4]}"


def trials(experiment: Experiment) -> list[Trial]:
    """An experiment's trials."""
    found: dict[str, Trial] = {}
    for model in experiment.models:
        data = [_digest(path.read_bytes()) for path in (model.path, model.data)]
        arrays = [dataclasses.astuple(model)[3:]]
        for variant in (one for one in experiment.variants if one.is_for(model)):
            used = versions(_packages(variant, experiment.metrics))
            columns = [dataclasses.astuple(column) for column in experiment.metrics]
            parts = [data, arrays, variant.text, columns, experiment.backend, used]
            content = _digest(json.dumps(parts, default=str).encode())[:12]
            trial = Trial(model, variant, experiment.metrics, experiment.backend, used, content)
            found[trial.key] = trial
    return list(found.values())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _packages(variant: Variant, columns: tuple[Column, ...]) -> Iterator[str]:
    """The packages that provide a trial's passes and metrics."""
    for item in Pipeline.parse(variant.text).flat():
        yield type(item).__module__.split(".")[0]
    for column in columns:
        yield metrics.find(column.metric).__module__.split(".")[0]


def run(trial: Trial) -> Row:
    """Run a trial. Whatever goes wrong is a row with the error's code, never an exception."""
    row = description(trial)
    try:
        compiled = _compile(trial)
    except Exception as error:  # passes may raise anything
        return {**row, **_failure(error)}
    failures: list[Row] = []
    for column in trial.metrics:
        try:
            row[column.name] = metrics.measure(column.metric, compiled, dict(column.options))
        except Exception as error:  # so may metrics; the others are measured all the same
            failures.append(_failure(error, column.name))
    return {**row, **(failures[0] if failures else {})}


def description(trial: Trial) -> Row:
    """The columns that are known before a trial runs."""
    return {
        "key": trial.key,
        "model": trial.model.name,
        "pipeline": trial.variant.pipeline,
        "text": trial.variant.text,
        **{name: number(value) for name, value in trial.variant.parameters},
        "versions": trial.versions,
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def same(trial: Trial, row: Row) -> Row:
    """The row of a trial whose content another trial's row has measured."""
    names = [*(column.name for column in trial.metrics), "error", "message"]
    return {**description(trial), **{name: row[name] for name in names if name in row}}


def _failure(error: Exception, column: str = "") -> Row:
    code, message = "X005", f"{type(error).__name__}: {error}"
    if isinstance(error, Error):
        code, message = error.code, error.message
        if error.nodes:
            message += f" ({', '.join(error.nodes)})"
    return {"error": code, "message": f"{column}: {message}" if column else message}


@dataclass(frozen=True)
class _Loaded:
    """A model and its data, ready for any pipeline."""

    module: Module
    calibration: Mapping[str, Array]
    inputs: Mapping[str, Array]
    labels: Array | None
    reference: tuple[Array, ...]


def _compile(trial: Trial) -> Compiled:
    stamps = tuple(path.stat().st_mtime_ns for path in (trial.model.path, trial.model.data))
    loaded = _load(trial.model, stamps)
    module = loaded.module.clone()
    pipeline = Pipeline.parse(trial.variant.text)
    backend = registry.find(trial.backend)
    limits = backend.limits
    context = Context(
        samples=loaded.calibration,
        lookup_bits=limits.lookup_bits,
        value_bits=limits.value_bits,
        backend=trial.backend,
        prices=prices_for(backend, {}),
    )
    start = time.perf_counter()
    pipeline.execute(module, context)
    seconds = time.perf_counter() - start
    return Compiled(module, loaded.inputs, loaded.labels, loaded.reference, seconds, trial.backend)


@lru_cache(maxsize=2)
def _load(model: Model, stamps: tuple[int, ...]) -> _Loaded:
    """Read a model and its data; kept, since a worker gets many trials of one model."""
    module = import_source(model.path, shapes=dict(model.shapes))
    leave_clear(module, model.clear)
    with np.load(model.data) as data:
        inputs = _arrays(module, model.inputs, data)
        calibration = _arrays(module, model.calibration, data)
        labels = data.get(model.labels)
    if model.samples is not None:
        calibration = {name: array[: model.samples] for name, array in calibration.items()}
    return _Loaded(module, calibration, inputs, labels, Program(module.clone()).run(inputs))


def _arrays(
    module: Module, names: str | tuple[tuple[str, str], ...], data: Mapping[str, Any]
) -> Mapping[str, Array]:
    """The arrays (samples, *shape) of these names in the data, by input."""

    def array(name: str) -> Any:
        if name not in data:
            way_out = did_you_mean(name, list(data))
            raise ExperimentError("X001", f"the data hold no array {name!r}", help=way_out)
        return data[name]

    given = array(names) if isinstance(names, str) else {i: array(name) for i, name in names}
    return Signature.of(module).arrange(given).arrays
