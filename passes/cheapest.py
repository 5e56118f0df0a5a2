"""Pass `cheapest`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from lutra.ir.core import Module
from lutra.ir.errors import Error, PipelineError
from lutra.ir.program import Program
from lutra.ir.types import Array
from lutra.passes.base import Context, Lossy, Notes, Pass
from lutra.passes.rules import RuleLog

Texts: TypeAlias = tuple[tuple[str, str], ...]
"""(name, text of a pipeline) pairs; in a pipeline's text a map."""

ENOUGH = 32
"""Samples below which alternatives are not compared."""


@dataclass(frozen=True)
class Trial:
    """What an alternative gave: the error of its outputs, and the circuit's price."""

    name: str
    items: tuple[Pass, ...]
    error: float
    price: float


@dataclass(frozen=True)
class Cheapest(Pass):
    """Run the cheapest of several pipelines whose results are as good as the best one's.

    Each alternative is tried on a copy of the module: calibrated on every other one of the first
    `samples` calibration samples, and compared on the ones between to the module as it stands here.
    The error of float outputs is the root of the mean squared difference, relative to how much the
    outputs vary between samples, that of integer ones the share that differs. Among the
    alternatives whose error exceeds the least one by no more than `tolerance`, that of the lowest
    price (`Context.prices`) is run; of equal prices the more accurate one. What fails is out, and
    what would find no parameters, if anything else does.

    The same module and samples lead to the same choice. The first alternative is run untried where
    there are fewer than 32 samples, and where no alternative succeeds.

    alternatives: texts of pipelines by names, as a map.
    """

    name = "cheapest"
    contract = Lossy
    alternatives: Texts = (("as it is", ""),)
    tolerance: float = 0.05
    samples: int = 512

    def __post_init__(self) -> None:
        if not self.alternatives:
            raise PipelineError("P002", "`alternatives` of pass `cheapest` holds none")
        if self.tolerance < 0:
            raise PipelineError("P002", f"`tolerance` is {self.tolerance}, which is negative")
        if self.samples < 1:
            raise PipelineError("P002", f"`samples` is {self.samples}, not 1 or more")
        for _, text in self.alternatives:
            _items(text)

    def expand(self) -> Sequence[Pass]:
        return _items(self.alternatives[0][1])

    def decide(self, module: Module, context: Context) -> Sequence[Pass]:
        count = min((len(array) for array in (context.samples or {}).values()), default=0)
        if len(self.alternatives) == 1 or count < ENOUGH:
            return self.expand()
        samples = {name: a[: self.samples] for name, a in (context.samples or {}).items()}
        fitted = {name: a[::2] for name, a in samples.items()}
        held_out = {name: a[1::2] for name, a in samples.items()}
        wanted = Program(module.clone()).run(held_out)
        trials = []
        for done, (name, text) in enumerate(self.alternatives):
            context.progress("choosing", done, len(self.alternatives))
            try:
                trials.append(_trial(name, text, module, fitted, held_out, wanted, context))
            except Error:
                continue
        context.progress("choosing", len(self.alternatives), len(self.alternatives))
        if not trials:
            return self.expand()
        # a circuit without parameters cannot run, unless none can
        trials = [trial for trial in trials if math.isfinite(trial.price)] or trials
        bound = min(trial.error for trial in trials) + self.tolerance
        good = [trial for trial in trials if trial.error <= bound]
        chosen = min(good, key=lambda trial: (trial.price, trial.error))
        context.notes.choices.append(_told(chosen, trials, self.tolerance))
        return chosen.items


def _items(text: str) -> tuple[Pass, ...]:
    from lutra.passes.pipeline import Pipeline  # which runs passes, hence imports all of them

    return Pipeline.parse(text).items


def _trial(
    name: str,
    text: str,
    module: Module,
    fitted: Mapping[str, Array],
    held_out: Mapping[str, Array],
    wanted: Sequence[Array],
    context: Context,
) -> Trial:
    from lutra.passes.pipeline import Pipeline

    twin = module.clone()
    own = dataclasses.replace(
        context,
        samples=fitted,
        notes=copied(context.notes),
        log=RuleLog(),
        progress=lambda what, done, total: None,
    )
    pipeline = Pipeline.parse(text)
    pipeline.execute(twin, own)
    error = error_of(Program(twin).run(held_out), wanted)
    error = error if math.isfinite(error) else math.inf
    return Trial(name, pipeline.items, error, own.prices.circuit(twin.encrypted))


def copied(notes: Notes) -> Notes:
    """Notes that a trial may add to; what they refer to stays the same."""
    fields: dict[str, Any] = {f.name: getattr(notes, f.name) for f in dataclasses.fields(notes)}
    for name, value in fields.items():
        if isinstance(value, dict | set | list):
            fields[name] = value.copy()
    return Notes(**fields)


def error_of(found: Sequence[Array], wanted: Sequence[Array]) -> float:
    """The largest error of any output (samples, *shape) that was to be `wanted`; see `Cheapest`."""
    return max((_error(y, ref) for y, ref in zip(found, wanted, strict=True)), default=0.0)


def _error(y: Array, ref: Array) -> float:
    if not np.issubdtype(ref.dtype, np.floating):
        return float(np.mean(y != ref))
    wrong = float(np.square(np.subtract(y, ref, dtype=np.float64)).sum())
    spread = float(np.square(ref - ref.mean(0, dtype=np.float64)).sum())
    return float(np.sqrt(wrong / spread)) if spread else float(wrong > 0)


def _told(chosen: Trial, trials: Sequence[Trial], tolerance: float) -> str:
    tried = "; ".join(f"{t.name}: error {t.error:.3f}, price {t.price:.3g}" for t in trials)
    return f"{chosen.name}, the cheapest within {tolerance:g} of the least error ({tried})"
