"""What each layer's quantization, rounding and table cost in error and accuracy."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from lutra.compiler import compile, imported
from lutra.figure import figure
from lutra.ir.core import Graph, Module, Op
from lutra.ir.errors import InputError
from lutra.ir.ops import Conv, Lookup, MatMul
from lutra.ir.program import Program
from lutra.ir.types import Array
from lutra.passes import Pipeline
from lutra.passes.base import Progress
from lutra.passes.bits import Bits
from lutra.passes.presets import FINE, WIDE, Default
from lutra.signature import Signature

FINE_LEVELS = 12
"""Bits of activations, inputs and rounding of what is not under examination."""

ROLES = ("weights", "rounding", "activations")
"""What a layer may lose by: its integer weights, the rounding of its accumulator, the levels that
its table has for the result."""


@dataclass(frozen=True)
class Cost:
    """What one choice costs while all others are fine.

    error: root of the mean squared change of the outputs, relative to the float outputs' own.
    drop: accuracy lost, in points; None without labels.
    """

    layer: str
    role: str
    bits: int
    error: float
    drop: float | None


@dataclass(frozen=True)
class Sensitivity:
    """The costs by layer and role, and those of all choices together (`layer` is "all")."""

    costs: tuple[Cost, ...]
    pipeline: str

    def table(self) -> Table:
        """One row for each layer: bits and error, and lost accuracy where labels were given."""
        labelled = any(cost.drop is not None for cost in self.costs)
        drawn = Table("layer")
        for role in ROLES:
            drawn.add_column(f"{role}: bits", justify="right")
            drawn.add_column("error", justify="right")
            if labelled:
                drawn.add_column("points", justify="right")
        rows: dict[str, dict[str, Cost]] = {}
        for cost in self.costs:
            rows.setdefault(cost.layer, {})[cost.role] = cost
        for layer, by_role in rows.items():
            cells = [layer]
            for role in ROLES:
                cells += _cells(by_role.get(role), labelled)
            drawn.add_row(*cells)
        return drawn

    def plot(self, path: str | Path) -> None:
        """Draw the errors as bars, one group for each layer, into a .png, .svg or .pdf file."""
        layers = list(dict.fromkeys(cost.layer for cost in self.costs))
        drawing = figure(7.2, 0.5 * len(layers) + 1.6)
        axes = drawing.add_subplot()
        for index, role in enumerate(ROLES):
            found = {cost.layer: cost.error for cost in self.costs if cost.role == role}
            places = [i + 0.25 * (index - 1) for i, layer in enumerate(layers) if layer in found]
            axes.barh(places, list(found.values()), 0.23, label=role)
        axes.set_yticks(range(len(layers)), layers)
        axes.invert_yaxis()
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(ROLES), frameon=False)
        axes.set_xlabel("error of the outputs, relative to the float model's")
        drawing.savefig(path, dpi=150)


def _cells(cost: Cost | None, labelled: bool) -> list[str]:
    if cost is None:
        return ["", "", ""] if labelled else ["", ""]
    cells = [str(cost.bits), f"{cost.error:.4f}"]
    return [*cells, f"{cost.drop:+.1f}"] if labelled and cost.drop is not None else cells


def analyze(
    model: Any,
    calibration: Any,
    pipeline: str | Default = "default",
    *,
    inputs: Any = None,
    labels: Array | None = None,
    shapes: Mapping[str, Any] | None = None,
    clear: Collection[str] = (),
    progress: Progress | None = None,
) -> Sensitivity:
    """Measure what each layer's weights, rounding and activations cost, one by one.

    Everything is compiled finely but for one role of one layer, which gets the bits that
    `pipeline`, a `default` with any options, gives it; where it chooses its rounding, 6 bits.

    model, calibration, shapes, clear, progress: as of `lutra.compile`.
    inputs: what to measure on, in the form of `calibration`; by default the calibration data.
    labels: classes of `inputs`, for the loss of accuracy.

    Errors: those of `lutra.compile`; I005 for another pipeline.
    """
    chosen = _preset(pipeline)
    module = imported(model, calibration, shapes, clear)
    trials = _Trials(module, calibration, inputs, labels)
    fine = dataclasses.replace(
        chosen,
        weights=FINE,
        output_weights=None,
        activations=FINE_LEVELS,
        inputs=FINE_LEVELS,
        rounding=None if chosen.rounding is None else FINE_LEVELS,
    )
    layers = list(_layers(trials.circuit(chosen), chosen))
    costs = []
    for done, (layer, role, name, bits) in enumerate(layers):
        if progress is not None:
            progress("sensitivity", done, len(layers))
        options: dict[str, Any] = {role: ((name, bits), ("*", getattr(fine, role)))}
        costs.append(trials.cost(layer, role, bits, dataclasses.replace(fine, **options), fine))
    for role in ROLES:
        if getattr(chosen, role) is not None:
            whole = dataclasses.replace(fine, **{role: getattr(chosen, role)})
            costs.append(trials.cost("all", role, _lowest(getattr(chosen, role)), whole, fine))
    if progress is not None:
        progress("sensitivity", len(layers), len(layers))
    return Sensitivity(tuple(costs), str(Pipeline((chosen,))))


def _preset(pipeline: str | Default) -> Default:
    items = (pipeline,) if isinstance(pipeline, Default) else Pipeline.of(pipeline).items
    if len(items) == 1 and isinstance(items[0], Default):
        chosen = items[0]
        return dataclasses.replace(chosen, rounding=WIDE[0]) if chosen.chooses else chosen
    raise InputError(
        "I005",
        f"sensitivity is measured of `default`, not of {str(pipeline)!r}",
        help="give `default` with the options in question",
    )


def _layers(circuit: Graph, chosen: Default) -> Iterator[tuple[str, str, str, int]]:
    """(layer, role, name that options know it by, bits) for all that a layer may lose by."""
    from lutra.passes.bits import bits_for

    for op in circuit.ops:
        if isinstance(op, Conv | MatMul) and op.loc:
            is_last = not any(isinstance(user, Lookup) for user in _readers(op))
            bits = chosen.output_weights if is_last else None
            weights = bits_for(bits or chosen.weights, op.loc, "weights")
            yield op.loc[0], "weights", op.loc[0], weights
        elif isinstance(op, Lookup) and op.loc:
            first, last = op.loc[0], op.loc[-1]
            if chosen.rounding is not None and chosen.rounding != "auto":
                yield first, "rounding", first, bits_for(chosen.rounding, op.loc, "rounding")
            yield first, "activations", last, bits_for(chosen.activations, (last,), "activations")


def _readers(op: Op) -> Iterator[Op]:
    """All operations that depend on one."""
    stack, seen = [op], {op}
    while stack:
        for value in stack.pop().results:
            for user in value.users:
                if user not in seen:
                    seen.add(user)
                    stack.append(user)
                    yield user


def _lowest(bits: Bits) -> int:
    return bits if isinstance(bits, int) else min(number for _, number in bits)


class _Trials:
    """Compiles a model with several options and compares what comes out."""

    def __init__(self, module: Module, calibration: Any, inputs: Any, labels: Array | None) -> None:
        if calibration is None:
            raise InputError("C003", "sensitivity needs calibration data")
        self.module = module
        self.calibration = calibration
        signature = Signature.of(self.module)
        self.inputs = signature.arrange(calibration if inputs is None else inputs).arrays
        self.labels = labels
        samples = len(next(iter(self.inputs.values()))) if self.inputs else 0
        if labels is not None and np.shape(labels) != (samples,):
            raise InputError("I001", f"labels of shape {np.shape(labels)} for {samples} samples")
        (self.reference, *_) = Program(self.module).run(self.inputs)
        self._kept: dict[Default, Array] = {}

    def circuit(self, options: Default) -> Graph:
        return compile(self.module, self.calibration, options).module.circuit

    def cost(self, layer: str, role: str, bits: int, coarse: Default, fine: Default) -> Cost:
        """What `coarse` loses against `fine`."""
        found, best = self._outputs(coarse), self._outputs(fine)
        scale = float(np.sqrt(np.square(self.reference, dtype=np.float64).mean())) or 1.0
        error = float(np.sqrt(np.square(np.subtract(found, best, dtype=np.float64)).mean())) / scale
        drop = None
        if self.labels is not None:
            drop = 100 * (self._accuracy(best) - self._accuracy(found))
        return Cost(layer, role, bits, error, drop)

    def _outputs(self, options: Default) -> Array:
        if options not in self._kept:
            module = compile(self.module, self.calibration, options).module
            self._kept[options] = Program(module).run(self.inputs)[0]
        return self._kept[options]

    def _accuracy(self, outputs: Array) -> float:
        from lutra.experiment.metrics import classes

        return float(np.mean(classes(outputs) == self.labels))
