"""Lutra's side: `lutra.tune` chooses on a split of the training set; the rest is measured."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter, process_time

import numpy as np

import lutra
from benchmarks.versus.configurations import DEFAULT_P_ERROR, Configuration
from benchmarks.versus.figures import TOLERANCE, Encrypted, Point, Speed
from benchmarks.versus.subjects import Samples, Subject
from lutra.backends import concrete
from lutra.ir.errors import Error, InputError
from lutra.ir.types import Array
from lutra.model import Model
from lutra.tuning.result import Candidate, Tuning

RUNS = 5
"""Simulations over which an accuracy is averaged."""

SHOWN = 6
"""Of what tuning tried, at most so many of the best are measured for the plot."""


DROPS = (TOLERANCE / 4, TOLERANCE / 2, TOLERANCE)
"""What `lutra.tune` may lose: training data flatter a model, by how much no training data tell."""


def tuned(subject: Subject, p_error: float | None, log: Path) -> Iterator[Tuning]:
    """What `lutra.tune` finds at that p_error, or at any, for each of `DROPS` that can be had.

    log: where trials are kept, so that an interrupted run goes on where it stopped.
    """
    calibration, choosing = subject.split
    for drop in DROPS:
        try:
            yield lutra.tune(
                subject.model,
                calibration.x,
                (choosing.x, choosing.y),
                max_drop=drop,
                p_error=p_error,
                log=log,
            )
        except InputError as error:
            if error.code != "I007":
                raise


def offered(subject: Subject, candidate: Candidate) -> Point:
    """Figures of what tuning chose, compiled anew for the seconds. Errors B..."""
    start = perf_counter()
    model = compiled(subject, candidate.pipeline, candidate.p_error)
    executable = model.executable
    seconds = perf_counter() - start
    assert isinstance(executable, concrete.ConcreteExecutable)
    return replace(_point(model, executable.costs, subject.test), compile=seconds)


def front(subject: Subject, tuning: Tuning) -> Iterator[Point]:
    """Figures of the best that tuning tried: the cheapest for every score."""
    for candidate in tuning.front[-SHOWN:]:
        try:
            model = compiled(subject, candidate.pipeline, candidate.p_error)
            costs = concrete.estimate(model.module.circuit, **model.options)
        except Error:
            continue  # no parameters: the price was a prediction
        yield _point(model, costs, subject.test)


def compiled(subject: Subject, pipeline: str, p_error: float | None) -> Model:
    """As tuning compiles it."""
    calibration, _ = subject.split
    return lutra.compile(subject.model, calibration.x, pipeline, p_error=p_error)


def _point(model: Model, costs: concrete.Statistics, test: Samples) -> Point:
    return Point(
        label=model.pipeline,
        accuracy=simulated(model, test),
        clear=test.accuracy(_outputs(model.predict(shaped(model, test)))),
        price=costs.price,
        p_error=model.p_error,
        pbs=costs.bootstraps,
        bits=", ".join(map(str, costs.bootstraps_by_bits)),
    )


def simulated(model: Model, samples: Samples) -> float:
    """Accuracy with look-up errors, averaged over some runs."""
    x = shaped(model, samples)
    runs = (_outputs(model.predict(x, mode="simulate")) for _ in range(RUNS))
    return float(np.mean([samples.accuracy(y) for y in runs]))


def shaped(model: Model, samples: Samples) -> Array:
    """Samples as the model's only input takes them."""
    return samples.x.reshape(-1, *model.signature.inputs[0].shape)


def _outputs(found: Array | tuple[Array, ...]) -> Array:
    assert isinstance(found, np.ndarray)
    return found


# --- the same settings as Concrete ML ------------------------------------------------------------
def same_settings(configuration: Configuration) -> str:
    """The pipeline of a configuration's bits of weights, activations, inputs, and rounding."""
    rounding = f"rounding={configuration.rounding},exact={str(configuration.exact).lower()}"
    if configuration.n_bits is None:
        return "qat" if configuration.rounding is None else f"qat{{{rounding}}}"
    names = ("weights", "activations", "inputs")
    bits = ",".join(f"{name}={configuration.n_bits}" for name in names)
    if configuration.rounding is None:
        return f"narrow{{{bits}}}"
    return f"wide{{{bits},{rounding}}}"


def speed(subject: Subject, configuration: Configuration, calibration: int, runs: int) -> Speed:
    """Processor seconds at the same settings: from ONNX file to executable, and of predictions.

    `precision` is Concrete ML's strategy, too.
    """
    x = subject.train.x[:calibration]
    options = {"strategy": "precision"}
    p_error = configuration.p_error or DEFAULT_P_ERROR
    seconds = []
    for _ in range(runs):
        start = process_time()
        model = lutra.compile(
            subject.model, x, same_settings(configuration), p_error=p_error, options=options
        )
        _ = model.executable
        seconds.append(process_time() - start)
    test = shaped(model, subject.test)
    return Speed(
        compile=min(seconds),
        clear=best(lambda: model.predict(test), 2.0, 500),
        simulate=best(lambda: model.predict(test, mode="simulate"), 2.0, 5) / len(test),
    )


def best(run: Callable[[], object], seconds: float, repeats: int) -> float:
    """Processor seconds of the shortest run: at most `repeats`, and no more after `seconds`."""
    times: list[float] = []
    while len(times) < repeats and sum(times) < seconds:
        start = process_time()
        run()
        times.append(process_time() - start)
    return min(times)


# --- encrypted -----------------------------------------------------------------------------------
def encrypted(model: Model, price: float, test: Samples, samples: int) -> Encrypted:
    """Key generation, and the first test samples one by one."""
    _ = model.executable
    start = perf_counter()
    model.keygen(force=True)
    keygen = perf_counter() - start
    x = shaped(model, test)
    seconds, right = [], 0
    for index in range(samples):
        start = perf_counter()
        y = _outputs(model.predict(x[index : index + 1], mode="encrypt"))
        seconds.append(perf_counter() - start)
        right += Samples(test.x[index : index + 1], test.y[index : index + 1]).accuracy(y) == 1
    return Encrypted(model.pipeline, price, keygen, statistics.median(seconds), right, samples)
