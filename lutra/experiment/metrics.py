"""What experiments measure: functions of a compiled model, found by name.

A package adds metrics of its own as entry points of the group `lutra.metrics`: functions that take
a `Compiled`, and options by keyword, and return a number.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from lutra.backends import registry
from lutra.backends.base import statistics_of
from lutra.experiment.encrypted import Encrypted, run_encrypted
from lutra.ir.analysis import look_ups, pbs_count
from lutra.ir.core import Graph, Module
from lutra.ir.errors import ExperimentError, did_you_mean
from lutra.ir.plugins import Plugins
from lutra.ir.program import Program
from lutra.ir.types import Array, Int
from lutra.pricing import price as predict


@dataclass
class Compiled:
    """A model after its pipeline, and what there is to measure it by.

    module: the result of the pipeline, which took `seconds` of wall time.
    backend: the name of the backend whose limits it was compiled for.
    inputs: test samples (samples, *shape) by name. labels: their classes, if the data have any.
    reference: the float model's outputs (samples, *shape) for these inputs.
    """

    module: Module
    inputs: Mapping[str, Array]
    labels: Array | None
    reference: tuple[Array, ...]
    seconds: float
    backend: str = "concrete"
    _costs: dict[Any, Mapping[str, float]] = field(default_factory=dict, repr=False)
    _encrypted: dict[Any, Encrypted] = field(default_factory=dict, repr=False)

    @property
    def circuit(self) -> Graph:
        """The circuit, or the only graph where the pipeline does not partition."""
        return self.module.encrypted

    @cached_property
    def program(self) -> Program:
        """Runs the module; it has run on `inputs` once `outputs` are known."""
        return Program(self.module)

    @cached_property
    def outputs(self) -> tuple[Array, ...]:
        """The module's outputs (samples, *shape) for `inputs`, by the reference meaning."""
        return self.program.run(self.inputs)

    def costs(self, **options: Any) -> Mapping[str, float]:
        """What the backend says of the circuit, emitted with these options of its own.

        A backend that has `estimate` beside `emit` is asked that way, which needs no code or keys.
        Errors: B..., I005.
        """
        key = tuple(sorted(options.items()))
        if key not in self._costs:
            backend = registry.find(self.backend)
            estimate = getattr(backend, "estimate", None)
            if estimate is not None:
                self._costs[key] = estimate(self.circuit, **options).flat()
            else:
                self._costs[key] = statistics_of(backend.emit(self.circuit, **options))
        return self._costs[key]

    def cost(self, name: str, **options: Any) -> float:
        """One of `costs`. Error X003 if the backend does not tell it."""
        costs = self.costs(**options)
        if name not in costs:
            raise ExperimentError("X003", f"backend `{self.backend}` does not tell `{name}`")
        return float(costs[name])

    def encrypted(self, samples: int = 3, **options: Any) -> Encrypted:
        """The first test samples really encrypted, in a circuit emitted with these options.

        Errors: B..., I005; X003 if the backend does not encrypt.
        """
        key = (samples, *sorted(options.items()))
        if key not in self._encrypted:
            inputs = {name: array[:samples] for name, array in self.inputs.items()}
            self._encrypted[key] = run_encrypted(
                self.module, inputs, self.backend, self.program, options
            )
        return self._encrypted[key]


Metric: TypeAlias = Callable[..., float]
"""metric(compiled, **options): one number."""


# --- accuracy -----------------------------------------------------------------------------------
def accuracy(compiled: Compiled) -> float:
    """Share of test samples whose class is right.

    The class is the index of the first output's largest number, or for a single number whether it
    is above 0.5.
    """
    return float(np.mean(classes(compiled.outputs[0]) == _labels(compiled)))


def simulated_accuracy(compiled: Compiled, p_error: float = 1e-5, seed: int = 0) -> float:
    """`accuracy` with the look-up errors of that probability, and approximate rounding's."""
    from lutra.backends import numpy as clear

    circuit = clear.emit(compiled.circuit, p_error=p_error, seed=seed)
    outputs = Program(compiled.module).run(compiled.inputs, lambda arrays: circuit.run(*arrays))
    return float(np.mean(classes(outputs[0]) == _labels(compiled)))


def float_accuracy(compiled: Compiled) -> float:
    """`accuracy` of the float model."""
    return float(np.mean(classes(compiled.reference[0]) == _labels(compiled)))


def agreement(compiled: Compiled) -> float:
    """Share of test samples to which the circuit and the float model give the same class."""
    return float(np.mean(classes(compiled.outputs[0]) == classes(compiled.reference[0])))


def rms_error(compiled: Compiled) -> float:
    """Root of the mean squared difference to the float model, relative to its outputs' own."""
    pairs = list(zip(compiled.outputs, compiled.reference, strict=True))
    wrong = sum(float(np.square(y.astype(np.float64) - ref).sum()) for y, ref in pairs)
    total = sum(float(np.square(ref.astype(np.float64)).sum()) for _, ref in pairs)
    return float(np.sqrt(wrong / total)) if total else float(np.sqrt(wrong))


def equal(compiled: Compiled) -> float:
    """Share of output numbers that are the imported model's own, up to the rounding of floats."""
    pairs = zip(compiled.outputs, compiled.reference, strict=True)
    same = [
        np.isclose(y, ref, rtol=1e-4, atol=1e-5 * np.abs(ref).max()).ravel() for y, ref in pairs
    ]
    return float(np.mean(np.concatenate(same)))


def violations(compiled: Compiled) -> float:
    """Values of the test samples that left the range that an `assume` claims."""
    _ = compiled.outputs
    return compiled.program.violations


# --- costs --------------------------------------------------------------------------------------
def pbs(compiled: Compiled) -> float:
    """Programmable bootstraps of one sample, without those of exact rounding."""
    return pbs_count(compiled.circuit)


def lookup_bits(compiled: Compiled) -> float:
    """Bits of the widest look-up's input, after rounding; 0 where there are no look-ups."""
    return max((site.bits for site in look_ups(compiled.circuit)), default=0)


def value_bits(compiled: Compiled) -> float:
    """Bits of the circuit's widest value."""
    types = (value.type for op in compiled.circuit.ops for value in op.results)
    return max((type.bits for type in types if isinstance(type, Int)), default=0)


def price(compiled: Compiled, **options: Any) -> float:
    """The backend's estimate of one sample's work: Concrete's "complexity".

    Options: the backend's own (`lutra.backends.concrete.Options`).
    """
    return compiled.cost("price", **options)


def predicted_price(compiled: Compiled, **options: Any) -> float:
    """`price` as `lutra.price` predicts it, in milliseconds.

    Options: p_error, global_p_error, strategy.
    """
    return predict(compiled.module, backend=compiled.backend, **options).total


def key_bytes(compiled: Compiled, **options: Any) -> float:
    """Size of the evaluation keys in memory. Options: the backend's own."""
    names = ("bootstrap_key_bytes", "keyswitch_key_bytes")
    return sum(compiled.cost(name, **options) for name in names)


def seconds(compiled: Compiled) -> float:
    """Wall time of the pipeline, without reading the model."""
    return compiled.seconds


# --- encrypted ----------------------------------------------------------------------------------
def encrypted_agreement(compiled: Compiled, samples: int = 3, **options: Any) -> float:
    """Share of the first test samples whose class is the same encrypted as in the clear."""
    found = classes(compiled.encrypted(samples, **options).outputs[0])
    return float(np.mean(found == classes(compiled.outputs[0])[: len(found)]))


def encrypted_equal(compiled: Compiled, samples: int = 3, **options: Any) -> float:
    """Share of output numbers that are the same, bit for bit, encrypted as in the clear."""
    pairs = zip(compiled.encrypted(samples, **options).outputs, compiled.outputs, strict=True)
    same = [np.equal(found, clear[: len(found)]).ravel() for found, clear in pairs]
    return float(np.mean(np.concatenate(same)))


def encrypted_seconds(compiled: Compiled, samples: int = 3, **options: Any) -> float:
    """Wall time of an encrypted sample, the first of several left out, which unpacks the keys."""
    seconds = compiled.encrypted(samples, **options).seconds
    return float(np.mean(seconds[1:] or seconds))


def keygen_seconds(compiled: Compiled, samples: int = 3, **options: Any) -> float:
    """Wall time of the generation of the keys with which `samples` are encrypted."""
    return compiled.encrypted(samples, **options).keygen


def emission_seconds(compiled: Compiled, samples: int = 3, **options: Any) -> float:
    """Wall time of the emission of the circuit that runs on `samples`."""
    return compiled.encrypted(samples, **options).emission


OWN: dict[str, Metric] = {
    metric.__name__: metric
    for metric in (
        *(accuracy, simulated_accuracy, float_accuracy, agreement, rms_error, equal, violations),
        *(pbs, lookup_bits, value_bits, price, predicted_price, key_bytes, seconds),
        *(encrypted_agreement, encrypted_equal, encrypted_seconds),
        *(keygen_seconds, emission_seconds),
    )
}
"""Lutra's metrics by name."""


def classes(outputs: Array) -> Array:
    """The class (samples,) that outputs (samples, ...) name; see `accuracy`."""
    flat = outputs.reshape(len(outputs), -1)
    return flat.argmax(1) if flat.shape[1] > 1 else (flat[:, 0] > 0.5).astype(np.int64)


def _labels(compiled: Compiled) -> Array:
    if compiled.labels is None:
        raise ExperimentError("X003", "the model's data hold no labels")
    return compiled.labels.reshape(-1)


# --- by name ------------------------------------------------------------------------------------
METRICS = Plugins(
    "lutra.metrics",
    "metric",
    lambda name: ["lutra"] if name in OWN else [],
    lambda name, found: "" if callable(found) else "is no function",
)


def find(name: str) -> Metric:
    """The metric of that name.

    Errors: X002 unknown, P006 provided by two packages, P007 a plugin that does not load.
    """
    found: Metric | None = METRICS.load(name) or OWN.get(name)
    if found is None:
        known = [*OWN, *METRICS.names()]
        raise ExperimentError("X002", f"no metric {name!r}", help=did_you_mean(name, known))
    return found


def check(name: str, options: Mapping[str, Any]) -> None:
    """Error X002 unless there is a metric of that name that takes these options."""
    try:
        inspect.signature(find(name)).bind(None, **options)
    except TypeError as error:
        raise ExperimentError("X002", f"metric {name!r}: {error}") from error
    samples = options.get("samples", 1)
    if not isinstance(samples, int) or samples < 1:
        raise ExperimentError(
            "X002",
            f"metric {name!r}: samples={samples!r} is not 1 or more",
            help="leave it out, or ask for one or more",
        )


def measure(name: str, compiled: Compiled, options: Mapping[str, Any]) -> float:
    """What a metric gives, as a plain number. Error X003 where it gives no number."""
    value: Any = find(name)(compiled, **options)
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number):
        raise ExperimentError("X003", f"metric {name!r} gives {value!r}, which is no number")
    number: float = value if isinstance(value, int | float) else value.item()
    return number
