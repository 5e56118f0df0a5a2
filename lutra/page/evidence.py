"""What a model does on data: where accumulators lie, and how far each step keeps the accuracy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lutra.compiler import compile
from lutra.experiment.metrics import classes
from lutra.frontends.registry import import_source
from lutra.ir.analysis import look_ups
from lutra.ir.core import Module, Op, Value
from lutra.ir.errors import InputError
from lutra.ir.interpreter import Interpreter
from lutra.ir.ops import Lookup, Round
from lutra.ir.program import Program
from lutra.ir.types import Array, Ints
from lutra.model import Model
from lutra.passes import Context, Pass
from lutra.passes.instruments import Instrument

BINS = 64
"""Bars of a histogram."""
BATCH = 256
"""Samples that are counted at once."""


@dataclass
class Histogram:
    """Values of an accumulator, counted in BINS bins from `lo` to `hi`, and those beside."""

    lo: int
    hi: int
    counts: Ints = field(default_factory=lambda: np.zeros(BINS, np.int64))
    below: int = 0
    above: int = 0

    def add(self, values: Array) -> None:
        self.below += int((values < self.lo).sum())
        self.above += int((values > self.hi).sum())
        self.counts += np.histogram(values, BINS, (self.lo - 0.5, self.hi + 0.5))[0]

    @property
    def outside(self) -> float:
        """Share of values beside the range."""
        total = int(self.counts.sum()) + self.below + self.above
        return (self.below + self.above) / max(1, total)


def histograms(model: Model, arrays: Mapping[str, Array]) -> dict[Op, Histogram]:
    """What the table look-ups of each operation read, before rounding, for inputs by name."""
    circuit = model.module.circuit
    read = {site.op: _accumulator(site.op) for site in look_ups(circuit)}
    wanted = {op: value for op, value in read.items() if value is not None}
    found = {op: Histogram(v.int_type.min, v.int_type.max) for op, v in wanted.items()}
    interpreter = Interpreter(circuit, list(wanted.values()))
    encoded = Program(model.module).encode(arrays)
    for start in range(0, len(encoded[0]) if encoded else 0, BATCH):
        results = interpreter.run([array[start : start + BATCH] for array in encoded])
        for op, values in zip(wanted, results, strict=True):
            found[op].add(values)
    return found


def _accumulator(op: Op) -> Value | None:
    """What an operation's look-ups read, before rounding; None for those of two operands."""
    if not isinstance(op, Lookup):
        return None
    source = op.x.owner
    return source.x if isinstance(source, Round) else op.x


@dataclass(frozen=True)
class Rung:
    """One step from the float model to encrypted results, and its share of right answers."""

    name: str
    accuracy: float
    samples: int
    note: str


@dataclass(frozen=True)
class Evidence:
    """What a report may draw on beside the model.

    inputs: of the model, as `predict` takes them. labels: their classes (samples,).
    source, calibration: what the model was compiled from, as `lutra.compile` takes them.
    encrypted: how many of the inputs to really encrypt.

    Errors: I001 where there is not one label for each sample; else those of `compile`, `predict`.
    """

    inputs: Any = None
    labels: Array | None = None
    source: Any = None
    calibration: Any = None
    encrypted: int = 0


@dataclass
class Unrounded(Instrument):
    """Keeps what the module computes for some inputs before anything is rounded."""

    inputs: Mapping[str, Array]
    outputs: Array | None = None

    def before(self, item: Pass, module: Module, context: Context) -> None:
        if item.name == "round" and self.outputs is None:
            self.outputs = Program(module.clone()).run(self.inputs)[0]


def rerun(model: Model, evidence: Evidence) -> tuple[Model | None, Array | None]:
    """The model compiled again, with what each pass did, and its outputs before rounding."""
    if evidence.source is None:
        return None, None
    arrays = {} if evidence.inputs is None else model.signature.arrange(evidence.inputs).arrays
    watch = Unrounded(arrays)
    found = compile(
        evidence.source,
        evidence.calibration,
        model.pipeline,
        backend=model.backend,
        options=model.options,
        instruments=[watch] if arrays else [],
    )
    return found, watch.outputs


def ladder(model: Model, evidence: Evidence, unrounded: Array | None) -> Iterator[Rung]:
    """The share of right answers of the float model and of every step behind it."""
    if evidence.inputs is None or evidence.labels is None:
        return
    labels = np.asarray(evidence.labels).reshape(-1)
    batch = model.signature.arrange(evidence.inputs)
    if len(labels) != batch.samples:
        raise InputError("I001", f"{len(labels)} labels for {batch.samples} samples")

    def rung(name: str, outputs: Array, note: str) -> Rung:
        right = classes(outputs) == labels[: len(outputs)]
        return Rung(name, float(right.mean()), len(outputs), note)

    if evidence.source is not None:
        module = import_source(evidence.source)
        yield rung("float", Program(module).run(batch.arrays)[0], "the model as it was given")
    if unrounded is not None:
        yield rung("quantized", unrounded, "before accumulators are rounded")
    clear = _first(model.predict(evidence.inputs))
    yield rung("rounded", clear, "the circuit's integers, in the clear")
    noisy = _first(model.predict(evidence.inputs, "simulate", seed=0))
    yield rung("simulated", noisy, f"with look-up errors, p_error {model.p_error:.2g}")
    if evidence.encrypted:
        few = {name: array[: evidence.encrypted] for name, array in batch.arrays.items()}
        given = few if len(few) > 1 else next(iter(few.values()))
        outputs = _first(model.predict(given, "encrypt"))
        same = int((classes(outputs) == classes(clear)[: len(outputs)]).sum())
        note = f"{same} of {len(outputs)} as in the clear; fewer samples than above"
        yield rung("encrypted", outputs, note)


def _first(outputs: Array | tuple[Array, ...]) -> Array:
    return outputs[0] if isinstance(outputs, tuple) else outputs
