"""What trials are run on, and how one is run. Everything here can be sent to another process."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import pickle
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from lutra.backends import numpy as clear
from lutra.compiler import compile
from lutra.experiment.metrics import classes
from lutra.ir.core import Module
from lutra.ir.errors import Error
from lutra.ir.program import Program, wrapped
from lutra.ir.types import Array
from lutra.model import Model
from lutra.pricing import price
from lutra.tuning.evidence import expected_changes

Metric: TypeAlias = Callable[[Array, Array], Array]
"""metric(outputs, labels): a score for each sample, 1 for the best and 0 for the worst."""


def accuracy(outputs: Array, labels: Array) -> Array:
    """1 for each sample whose class is right; its credit where labels are [samples, classes]."""
    found = classes(outputs)
    if labels.ndim == 2 and labels.shape[1] > 1:
        return np.asarray(labels[np.arange(len(found)), found], dtype=np.float64)
    return np.asarray(found == labels.reshape(-1), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Workload:
    """A model, the samples it is calibrated with, and those that trials are scored on.

    model: as of `lutra.compile`; bytes or a path where trials run in other processes.
    calibration, inputs: arrays (samples, *shape) by input name.
    labels: what the metric compares the outputs for `inputs` with.
    given: which samples [samples] were given, where others were made of them.
    runs: simulations over which scores are averaged.
    """

    model: Any
    calibration: Mapping[str, Array]
    inputs: Mapping[str, Array]
    labels: Array
    given: Array
    metric: Metric
    backend: str
    runs: int
    seed: int

    @cached_property
    def digest(self) -> str:
        """What the results of trials depend on beside the pipeline."""
        found = hashlib.sha256()
        model = str(self.model) if isinstance(self.model, Module) else _content(self.model)
        found.update(model if isinstance(model, bytes) else model.encode())
        for arrays in (self.calibration, self.inputs, {"labels": self.labels}):
            for name, array in sorted(arrays.items()):
                found.update(f"{name}{array.dtype}{array.shape}".encode())
                found.update(np.ascontiguousarray(array).tobytes())
        names = (self.metric.__module__, self.metric.__qualname__)
        found.update(repr((*names, self.backend, self.runs, self.seed)).encode())
        return found.hexdigest()[:16]

    def part(self, samples: Array) -> Workload:
        """The same with some of the samples that trials are scored on."""
        inputs = {name: array[samples] for name, array in self.inputs.items()}
        labels, given = self.labels[samples], self.given[samples]
        return dataclasses.replace(self, inputs=inputs, labels=labels, given=given)

    def __getstate__(self) -> dict[str, Any]:
        """With its digest, which tells workers what they know already."""
        return {**self.__dict__, "digest": self.digest}  # computed once, where the data are


def _content(model: Any) -> bytes:
    if isinstance(model, bytes):
        return model
    try:
        with open(model, "rb") as file:  # noqa: PTH123 - whatever names a file
            return file.read()
    except (TypeError, OSError):
        serialize = getattr(model, "SerializeToString", None)
        return bytes(serialize()) if serialize else pickle.dumps(model)


@dataclass(frozen=True)
class Point:
    """What one pipeline is worth at one p_error.

    scores: of each sample, averaged over the simulations; None where it was not simulated, such
        as where the backend would find no parameters.
    error: root of the mean squared error of the simulated outputs, relative to the float outputs'.
    changes: share of the given samples that is likely to get another class, where they are few.
    """

    p_error: float
    price: float
    strategy: str
    scores: Array | None = None
    error: float = math.inf
    changes: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """What a trial found: one point for each p_error, or the code of an error."""

    pipeline: str
    points: tuple[Point, ...]
    seconds: float
    failure: str = ""


@dataclass(frozen=True)
class Task:
    """A pipeline to try. At most `ceiling` may a p_error cost to be simulated there."""

    pipeline: str
    p_errors: tuple[float, ...]
    ceiling: float = math.inf


def run(workload: Workload, task: Task) -> Outcome:
    """Compile with a task's pipeline, predict prices, simulate."""
    start = time.process_time()
    try:
        middle = task.p_errors[len(task.p_errors) // 2]  # by which passes compare prices
        model = compiled(workload, task.pipeline, p_error=middle)
        points = [_point(workload, model, task, p_error) for p_error in task.p_errors]
    except Error as error:
        seconds = time.process_time() - start
        return Outcome(task.pipeline, (), seconds, f"{error.code}: {error.message}")
    return Outcome(task.pipeline, tuple(points), time.process_time() - start)


def _point(workload: Workload, model: Model, task: Task, p_error: float) -> Point:
    found = price(model.module.circuit, backend=workload.backend, p_error=p_error)
    point = Point(p_error, found.total, found.strategy)
    if math.isinf(found.total) or not found.total <= task.ceiling:
        return point
    return simulated(workload, model, point, workload.runs, workload.seed)


def simulated(workload: Workload, model: Model, point: Point, runs: int, seed: int) -> Point:
    """A point with its mean scores over simulations, the outputs' relative error, and changes."""
    reference, scale = reference_outputs(workload)
    circuit = model.module.circuit
    types = [value.int_type for value in circuit.outputs]
    executable = clear.emit(circuit, p_error=point.p_error, seed=seed)
    program = Program(model.module)
    q = program.encode(workload.inputs)
    scores, squares, changes = [], [], []
    for _ in range(runs if model.pbs_count else 1):
        results = executable.run(*q)
        results = tuple(wrapped(t, a) for t, a in zip(types, results, strict=True))
        (outputs, *_) = program.decode(results, workload.inputs)
        scores.append(workload.metric(outputs, workload.labels))
        squares.append(float(np.square(np.subtract(outputs, reference, dtype=np.float64)).mean()))
        if not workload.given.all():
            found, before = (y.reshape(len(y), -1) for y in (outputs, reference))
            changes.append(expected_changes(found, before, workload.given))
    return dataclasses.replace(
        point,
        scores=np.mean(scores, axis=0),
        error=math.sqrt(float(np.mean(squares))) / scale,
        changes=float(np.mean(changes)) if changes else 0.0,
    )


def compiled(workload: Workload, pipeline: str, **options: Any) -> Model:
    """The workload's model, compiled with a pipeline."""
    return compile(
        _module(workload), workload.calibration, pipeline, backend=workload.backend, **options
    )


_modules: dict[str, Module] = {}
_references: dict[str, tuple[Array, float]] = {}


def _module(workload: Workload) -> Module:
    """The imported model, kept: a worker gets many trials of one."""
    from lutra.frontends.registry import import_source

    if workload.digest not in _modules:
        if len(_modules) > 3:
            _modules.clear()
        given = workload.model
        _modules[workload.digest] = given if isinstance(given, Module) else import_source(given)
    return _modules[workload.digest]


def reference_outputs(workload: Workload) -> tuple[Array, float]:
    """Outputs of the model as it stands, and the root of their mean square."""
    if workload.digest not in _references:
        if len(_references) > 3:
            _references.clear()
        (outputs, *_) = Program(_module(workload).clone()).run(workload.inputs)
        scale = math.sqrt(float(np.square(outputs, dtype=np.float64).mean())) or 1.0
        _references[workload.digest] = (outputs, scale)
    return _references[workload.digest]
