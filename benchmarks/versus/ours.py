"""Lutra's side. Settings are chosen on a split of the training set; the test set is for figures."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

import lutra
from benchmarks.versus.configurations import DEFAULT_P_ERROR, Configuration
from benchmarks.versus.figures import STRICT, TOLERANCE, Encrypted, Point, Speed
from benchmarks.versus.subjects import Samples, Subject
from lutra.backends import concrete
from lutra.ir.errors import Error
from lutra.ir.types import Array
from lutra.model import Model

P_ERRORS = (STRICT, 1e-4, 1e-2)

RUNS = 5
"""Simulations over which an accuracy is averaged."""

CAUTION = 0.5
"""Share of the tolerance that may be used up on the samples that choose."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A model whose options state a p_error, the seconds its passes took, and what it costs."""

    model: Model
    seconds: float
    costs: concrete.Statistics

    @property
    def price(self) -> float:
        return self.costs.price

    @property
    def p_error(self) -> float:
        return self.model.p_error


def pipelines(brings: bool) -> Iterator[str]:
    """What to choose from."""
    if brings:
        yield "qat"
        yield from (f"qat{{rounding={bits}}}" for bits in (6, 5, 4, 3))
        yield from (f"qat{{rounding={bits},margin=0.1}}" for bits in (5, 4, 3))
        return
    for rounding in (3, 4, 5, 6):
        for weights in (3, 4, 6):
            for method in ("minmax", "mse"):
                last = min(weights, 4)
                options = f"weights={weights},output_weights={last},rounding={rounding}"
                yield f"default{{{options},method={method}}}"


def candidates(subject: Subject) -> Iterator[Candidate]:
    """Every pipeline at every p_error, but for what does not compile."""
    calibration, _ = subject.split
    for text in pipelines(subject.brings):
        for p_error in P_ERRORS:
            try:
                if p_error == P_ERRORS[0]:
                    start = perf_counter()
                    module = lutra.compile(subject.model, calibration.x, text).module
                    seconds = perf_counter() - start
                model = Model(module, pipeline=text, options={"p_error": p_error})
                costs = concrete.estimate(model.module.circuit, p_error=p_error)
            except Error:
                break
            yield Candidate(model, seconds, costs)
            if not model.pbs_count:
                break


def chosen(subject: Subject, found: Sequence[Candidate], p_error: float) -> Candidate | None:
    """The cheapest up to that p_error that keeps the accuracy on the samples that choose."""
    _, choosing = subject.split
    least = subject.accuracy(choosing) - TOLERANCE * CAUTION
    for candidate in sorted(found, key=lambda c: c.price):
        if candidate.p_error <= p_error and simulated(candidate.model, choosing) >= least:
            return candidate
    return None


def point(candidate: Candidate, test: Samples) -> Point:
    """A candidate's figures on the test set."""
    model = candidate.model
    widths = candidate.costs.bootstraps_by_bits
    return Point(
        label=model.pipeline,
        accuracy=simulated(model, test),
        clear=test.accuracy(_outputs(model.predict(shaped(model, test)))),
        price=candidate.price,
        p_error=candidate.p_error,
        pbs=candidate.costs.bootstraps,
        bits=", ".join(map(str, widths)),
        compile=candidate.seconds,
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
    rounding = "none" if configuration.rounding is None else str(configuration.rounding)
    options = f"rounding={rounding},exact={str(configuration.exact).lower()}"
    if configuration.n_bits is None:
        return f"qat{{{options}}}"
    bits = configuration.n_bits
    return f"default{{weights={bits},activations={bits},inputs={bits},{options}}}"


def speed(subject: Subject, configuration: Configuration, calibration: int, runs: int) -> Speed:
    """Seconds at the same settings: from the ONNX file to the executable, and of predictions.

    `precision` is Concrete ML's strategy, too.
    """
    x = subject.train.x[:calibration]
    options = {"strategy": "precision"}
    p_error = configuration.p_error or DEFAULT_P_ERROR
    seconds = []
    for _ in range(runs):
        start = perf_counter()
        model = lutra.compile(
            subject.model, x, same_settings(configuration), p_error=p_error, options=options
        )
        _ = model.executable
        seconds.append(perf_counter() - start)
    test = shaped(model, subject.test)
    return Speed(
        compile=min(seconds),
        clear=best(lambda: model.predict(test), 1.0, 20),
        simulate=best(lambda: model.predict(test, mode="simulate"), 2.0, 5) / len(test),
    )


def best(run: Callable[[], object], seconds: float, repeats: int) -> float:
    """Shortest of some runs, in seconds: at most `repeats`, and no more after `seconds`."""
    times: list[float] = []
    while len(times) < repeats and sum(times) < seconds:
        start = perf_counter()
        run()
        times.append(perf_counter() - start)
    return min(times)


# --- encrypted -----------------------------------------------------------------------------------
def encrypted(candidate: Candidate, test: Samples, samples: int) -> Encrypted:
    """Key generation, and the first test samples one by one."""
    model = candidate.model
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
    return Encrypted(
        model.pipeline, candidate.price, keygen, statistics.median(seconds), right, samples
    )
