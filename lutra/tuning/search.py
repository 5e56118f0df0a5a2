"""The search: what to try next, from what was found so far.

Uniform bits first, from many to few, then with ever fewer look-ups; then, from the cheapest
pipeline that keeps the accuracy, one bit less of one role of one layer at a time. These trials are
a sensitivity analysis around the best pipeline so far: each tells what its bit saves and what error
it adds. The moves that save most for their error are made together, as many as the accuracy bears.
Where no bit can go, one goes and another comes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial

from lutra.ir.types import Array
from lutra.passes.base import Progress
from lutra.passes.calibrate import Method
from lutra.tuning.evidence import worst_loss
from lutra.tuning.log import Log
from lutra.tuning.setting import Setting, Variable
from lutra.tuning.workload import Outcome, Point, Task, Workload, run

ROUNDING = (8, 7, 6, 5, 4, 3)
"""Bits of the uniform settings that a search starts with."""
FINE_ROUNDING = (10, 9, 8, 7)
"""Bits of those that it goes on with where none of the first keeps the score."""
TIGHT = 0.03
"""A margin that wastes little, for the few values that will leave the range."""
FINE_BITS = ((8, 10, 8), (8, 10, 6), (6, 8, 6))
"""Bits of weights, activations and the last layers' weights there: ever less noise."""
FINE_INPUTS = 10
"""Bits of inputs whose values must be told apart finely, at more noise."""
PRUNING = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4)
"""Errors that leaving out look-ups may cause, as of `prune`."""
SLACKS = (0.1, 0.5, 1.5)
"""What coarser cells may cost where a model's own steps are rounded to, as of `fit-rounding`."""
SWAPS = 3
"""Moves that are tried with a bit more elsewhere, when no bit can go without."""


@dataclass(frozen=True)
class Found:
    """A setting and what it is worth at one p_error."""

    setting: Setting
    point: Point


@dataclass
class Search:
    """The trials so far, and what is still allowed.

    p_errors: those that may be chosen, ascending. limit: trials at most.
    reference: the scores of the model as it stands. exact: whether to round exactly.
    brings, dropped: what becomes of the model's own quantization, as in a `Setting`.
    """

    workload: Workload
    variables: tuple[Variable, ...]
    brings: bool
    exact: bool
    p_errors: tuple[float, ...]
    max_drop: float
    confidence: float
    reference: Array
    limit: int
    log: Log
    progress: Progress
    executor: Executor | None = None
    dropped: bool = False
    outcomes: dict[Setting, Outcome] = field(default_factory=dict)
    best: Found | None = None

    def run(self) -> None:
        """Search until nothing gets cheaper or the trials are used up."""
        for setting in self._start():
            self.evaluate(setting)
        while self.best is not None and self._improve():
            pass

    def keeps(self, point: Point, reference: Array | None = None) -> bool:
        """Whether the loss is within what is allowed, with the confidence that is asked for.

        Where samples were made of those that are given, of these no more may change either: what
        changes answers both ways on few samples would lose on others. Not where the model's own
        quantization may be dropped, which makes it another model.

        reference: scores of the model as it stands, where they are not those of the search.
        """
        if point.scores is None:
            return False
        if point.changes > self.max_drop and not (self.brings or self.dropped):
            return False
        reference = self.reference if reference is None else reference
        return worst_loss(point.scores, reference, self.confidence) <= self.max_drop

    # --- trials ---------------------------------------------------------------------------------
    def evaluate(self, settings: Sequence[Setting]) -> list[Found]:
        """Try settings, all at once; what was simulated of them."""
        new = [s for s in dict.fromkeys(settings) if s not in self.outcomes]
        new = new[: max(0, self.limit - len(self.outcomes))]
        ceiling = math.inf if self.best is None else self.best.point.price
        tasks = [Task(setting.pipeline, self.p_errors, ceiling) for setting in new]
        for setting, outcome in zip(new, self._outcomes(tasks), strict=True):
            self.outcomes[setting] = outcome
            for point in outcome.points:
                cheaper = self.best is None or point.price < self.best.point.price
                if cheaper and self.keeps(point):
                    self.best = Found(setting, point)
            self.progress("tuning", len(self.outcomes), self.limit)
        return [
            Found(setting, point)
            for setting in settings
            if setting in self.outcomes
            for point in self.outcomes[setting].points
            if point.scores is not None
        ]

    def _outcomes(self, tasks: Sequence[Task]) -> Iterable[Outcome]:
        """Run what no log has run before."""
        known = {task: self.log.find(task) for task in tasks}
        missing = [task for task, outcome in known.items() if outcome is None]
        mapped: Callable[..., Iterable[Outcome]] = self.executor.map if self.executor else map
        for task, outcome in zip(
            missing, mapped(partial(run, self.workload), missing), strict=True
        ):
            self.log.write(task, outcome)
            known[task] = outcome
        return [found for task in tasks if (found := known[task]) is not None]

    # --- what to try ----------------------------------------------------------------------------
    def _start(self) -> Iterable[Sequence[Setting]]:
        """Uniform settings, dearest first, then the variants of the best ones."""
        base = [self._uniform(bits, max(3, min(6, bits)), 8, min(6, bits)) for bits in ROUNDING]
        if self.brings:
            plain = dataclasses.replace(base[0], rounding=False, margin=None)
            guaranteed = [dataclasses.replace(s, margin=None) for s in base]
            yield [plain, *base, *guaranteed]
            return
        yield base
        if self.best is None:
            base = [
                dataclasses.replace(self._uniform(bits, *others), inputs=FINE_INPUTS)
                for others in FINE_BITS
                for bits in FINE_ROUNDING
            ]
            yield base
        around = self._around(base)
        other: Method = "minmax" if Setting.method == "mse" else "mse"
        yield [dataclasses.replace(s, method=other) for s in around]
        yield [dataclasses.replace(s, margin=TIGHT) for s in around]
        yield from self._pruned(base)

    def _uniform(self, rounding: int, weights: int, activations: int, outputs: int) -> Setting:
        """The same bits in all layers."""
        setting = Setting.uniform(
            self.brings,
            self.variables,
            rounding=rounding,
            weights=weights,
            activations=activations,
            output_weights=outputs,
        )
        return dataclasses.replace(setting, exact=self.exact, dropped=self.dropped)

    def _around(self, settings: Sequence[Setting]) -> list[Setting]:
        """The best of some settings, and the next cheaper one."""
        at = self._place(settings)
        return list(settings[at : at + 2])

    def _place(self, settings: Sequence[Setting]) -> int:
        """Where the best one stands among uniform settings, by its bits; at first if none is."""
        bits = [setting.bits for setting in settings]
        return 0 if self.best is None else bits.index(self.best.setting.bits)

    def _pruned(self, settings: Sequence[Setting]) -> Iterable[Sequence[Setting]]:
        """The best uniform setting with fewer look-ups, and with more bits for those that stay.

        Ends where no number of bits makes up for what was left out; what is dearer than the best
        tells nothing.
        """
        at = self._place(settings)
        like = settings[0] if self.best is None else self.best.setting
        near = settings[max(0, at - 2) : at + 2]
        for error in PRUNING:
            tried = [dataclasses.replace(like, bits=s.bits, prune=error) for s in near]
            yield tried
            points = [p for s in tried if s in self.outcomes for p in self.outcomes[s].points]
            simulated = all(point.scores is not None for point in points)
            if simulated and not any(map(self.keeps, points)):
                return

    def _improve(self) -> bool:
        """Look around the best setting; whether a cheaper one was found."""
        assert self.best is not None
        best = self.best
        fewer = [
            moved
            for variable, _ in best.setting.bits
            for by in ((-1, -2) if variable[0] == "rounding" else (-1,))
            if (moved := best.setting.moved(variable, by)) is not None
        ]
        self.evaluate([*fewer, *self._variants(best.setting)])
        moves = self._moves(best, fewer)
        good = [self._change(best, found) for found in moves if self.keeps(found.point)]
        if len(good) > 1:
            together = (_union(good[:n]) for n in range(2, len(good) + 1))
            self.evaluate([best.setting.changed(changes) for changes in together])
        if self.best == best:
            self.evaluate(list(self._swaps(best, moves)))
        return self.best != best and len(self.outcomes) < self.limit

    def _variants(self, setting: Setting) -> Iterable[Setting]:
        """The same bits with other ranges, or exactly rounded."""
        if self.brings and setting.rounding and not self.exact:
            yield dataclasses.replace(setting, exact=not setting.exact)
            yield from (dataclasses.replace(setting, slack=slack) for slack in SLACKS)
        if not self.brings:
            other: Method = "minmax" if setting.method == "mse" else "mse"
            yield dataclasses.replace(setting, method=other)
            for inputs in {Setting.inputs, FINE_INPUTS} - {setting.inputs}:
                yield dataclasses.replace(setting, inputs=inputs)
            for error in PRUNING:
                if setting.prune is not None and setting.prune < error:
                    yield dataclasses.replace(setting, prune=error)
                    break
        margin = Setting.margin if setting.margin == TIGHT else TIGHT
        if setting.margin is not None:
            yield dataclasses.replace(setting, margin=margin)

    def _moves(self, best: Found, settings: Sequence[Setting]) -> list[Found]:
        """The cheaper ones among neighbours, by what they save for the error that they add."""
        found = [
            Found(s, p)
            for s in settings
            if s in self.outcomes
            for p in self.outcomes[s].points
            if p.scores is not None and p.p_error == best.point.p_error
        ]
        cheaper = [f for f in found if f.point.price < best.point.price]
        return sorted(cheaper, key=lambda f: self._worth(best, f), reverse=True)

    def _worth(self, best: Found, found: Found) -> float:
        saved = math.log(best.point.price / found.point.price)
        added = found.point.error**2 - best.point.error**2
        return saved / max(added, 1e-3 * best.point.error**2, 1e-12)

    def _change(self, best: Found, found: Found) -> dict[Variable, int]:
        before = dict(best.setting.bits)
        return {v: bits for v, bits in found.setting.bits if before[v] != bits}

    def _swaps(self, best: Found, moves: Sequence[Found]) -> Iterable[Setting]:
        """A bit less of one variable, one more of another, or exactly rounded instead."""
        for found in moves[:SWAPS]:
            for role, layer in self._change(best, found):
                rounded = found.setting.exactly(layer) if role == "rounding" else None
                if rounded is not None and not self.brings:
                    yield rounded
            for variable, _ in best.setting.bits:
                if variable not in self._change(best, found):
                    swapped = found.setting.moved(variable, 1)
                    if swapped is not None:
                        yield swapped


def _union(changes: Iterable[Mapping[Variable, int]]) -> dict[Variable, int]:
    merged: dict[Variable, int] = {}
    for change in changes:
        merged = {**change, **merged}  # of two moves of one variable, the one that is worth more
    return merged
