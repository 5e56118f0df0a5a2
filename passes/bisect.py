"""Bisection: which pass, and which rewrite in it, first breaks something."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from lutra.ir.core import Module
from lutra.ir.naming import Names
from lutra.ir.program import Program
from lutra.passes.base import Context, Pass
from lutra.passes.ordering import check_order
from lutra.passes.pipeline import Pipeline, spell
from lutra.passes.rules import RuleLog
from lutra.passes.validate import relative_error, sample_inputs

Predicate: TypeAlias = Callable[[Module], bool]
"""Whether a module is still good."""


@dataclass(frozen=True)
class Culprit:
    """The first pass after which the predicate fails.

    index: its place among the passes that do the work, from 0.
    rule, operation: the first rewrite after which it fails, if the pass works by rules.
    before, after: the module's text around that rewrite, else around the pass.
    """

    item: Pass
    index: int
    rule: str | None
    operation: str | None
    before: str
    after: str

    def __str__(self) -> str:
        where = f"pass {self.index}: {spell(self.item)}"
        return where + (f", rule {self.rule} on {self.operation}" if self.rule else "")


def bisect(
    pipeline: Pipeline, module: Module, predicate: Predicate, context: Context | None = None
) -> Culprit | None:
    """Find what makes `predicate` fail; None if it holds after every pass.

    The module given is left as it is. Passes are run once, in order; rewrites within the first
    bad pass are found by halving the number of rules that may fire.
    """
    context = context or Context()
    check_order(pipeline.flat(), module)
    current = module.clone()
    for index, item in enumerate(pipeline.flat()):
        before = current.clone()
        item.run_module(current, context)
        if not predicate(current):
            return _within(item, index, before, current, predicate, context)
    return None


def _within(
    item: Pass, index: int, before: Module, after: Module, predicate: Predicate, context: Context
) -> Culprit:
    def attempt(budget: int | None) -> tuple[Module, RuleLog]:
        log = RuleLog(budget=budget, keep_trace=True)
        module = before.clone()
        item.run_module(module, dataclasses.replace(context, log=log))
        return module, log

    names = Names()
    firings = attempt(None)[1].fired.total()
    if not firings or not predicate(attempt(0)[0]):
        return Culprit(item, index, None, None, names.text(before), names.text(after))
    good, bad = 0, firings
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if predicate(attempt(middle)[0]) else (good, middle)
    module, log = attempt(bad)
    rule, operation = log.trace[-1]
    text = names.text(attempt(good)[0])
    return Culprit(item, index, rule, operation, text, names.text(module))


def same_outputs(
    module: Module,
    context: Context | None = None,
    eps: float = 1e-4,
    samples: int = 16,
    seed: int = 0,
) -> Predicate:
    """A predicate: outputs stay within eps, relative to the largest, of this module's now.

    Inputs are those that `Validate` takes.
    """
    feeds, _ = sample_inputs(module, context or Context(), samples, seed)
    wanted = Program(module.clone()).run(feeds)

    def holds(other: Module) -> bool:
        try:
            return relative_error(wanted, Program(other).run(feeds)) <= eps
        except Exception:  # what does not run is not good either
            return False

    return holds
