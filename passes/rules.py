"""Rewrite rules, and the driver that applies them until nothing changes.

A rule is a function of one operation, typed by the class that it rewrites, whose docstring is an
equation. It returns None where it rewrote, and `no(reason)` where it refuses:

    @benefit(2)
    def merge_clear_terms(op: AddClear, rw: Rewriter) -> Outcome:
        '''(x + a) + b -> x + (a + b)'''

    @on("Gemm")
    def gemm_to_matmul(op: Onnx, rw: Rewriter) -> Outcome:
        '''Gemm(a, b, c) -> MatMul(a, alpha * b) + beta * c'''
"""

from __future__ import annotations

import inspect
import typing
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any, TypeAlias

from lutra.ir.core import Graph, Op
from lutra.ir.errors import PipelineError
from lutra.ir.ops import Onnx
from lutra.ir.rewriter import Rewriter


@dataclass(frozen=True)
class Refusal:
    """Why a rule did not fire, and perhaps the operation that stands in the way."""

    reason: str
    at: Op | None = None


def no(reason: str, at: Op | None = None) -> Refusal:
    """The answer of a rule that does not apply."""
    return _refusal(reason) if at is None else Refusal(reason, at)


_refusal = lru_cache(maxsize=1024)(Refusal)


Outcome: TypeAlias = Refusal | None
Rule: TypeAlias = Callable[[Any, Rewriter], Outcome]

MAX_FIRINGS = 64
"""Firings for each operation of the graph, on average, before the driver gives up."""


@dataclass
class RuleLog:
    """What the rules of a run did; hand one to `Context(log=...)`.

    fired: how often each rule rewrote.
    refused: for each rule, how often it gave which reason.
    budget: rules stop after that many firings; None sets no limit. Bisection uses it.
    trace: the firings in order, as (rule, operation before).
    """

    fired: Counter[str] = field(default_factory=Counter)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    budget: int | None = None
    trace: list[tuple[str, str]] = field(default_factory=list)
    keep_trace: bool = False

    @property
    def exhausted(self) -> bool:
        return self.budget is not None and self.fired.total() >= self.budget


@cache
def rewritten_classes(rule: Rule) -> tuple[type[Op], ...]:
    """The classes of operations that a rule rewrites: its first parameter's annotation."""
    first = next(iter(inspect.signature(rule).parameters))
    hint: Any = typing.get_type_hints(rule)[first]
    return typing.get_args(hint) or (hint,)


def benefit(number: int) -> Callable[[Rule], Rule]:
    """Decorator: among the rules for one operation those of higher benefit are tried first."""

    def mark(rule: Rule) -> Rule:
        rule.benefit = number  # type: ignore[attr-defined]
        return rule

    return mark


def on(*op_types: str) -> Callable[[Rule], Rule]:
    """Decorator: a rule for ONNX nodes of these types (default domain), asked of no other."""

    def mark(rule: Rule) -> Rule:
        rule.op_types = frozenset(op_types)  # type: ignore[attr-defined]
        return rule

    return mark


class RuleIndex:
    """Finds the rules for an operation: by falling benefit, else in the order given."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = sorted(rules, key=lambda rule: -getattr(rule, "benefit", 1))
        self._found: dict[tuple[type[Op], str | None], list[Rule]] = {}

    def rules_for(self, op: Op) -> Sequence[Rule]:
        key = type(op), op.op_type if isinstance(op, Onnx) and not op.domain else None
        if key not in self._found:
            self._found[key] = [rule for rule in self.rules if _fits(rule, *key)]
        return self._found[key]


def _fits(rule: Rule, kind: type[Op], op_type: str | None) -> bool:
    op_types = getattr(rule, "op_types", None)
    return kind in rewritten_classes(rule) and (op_types is None or op_type in op_types)


def apply_rules(
    graph: Graph,
    rewriter: Rewriter,
    rules: Sequence[Rule],
    log: RuleLog | None = None,
    start: Iterable[Op] | None = None,
) -> None:
    """Apply rules until none fires.

    A worklist holds the operations to look at: at first those of `start` (all, if None), then
    those that were inserted, and the readers and producers of what changed. What is dead by then
    is erased. Cost grows with the worklist and the firings. Error P004 if the rules do not come to
    rest, naming those that still fire.
    """
    log = log or RuleLog()
    index = RuleIndex(rules)
    queue: deque[Op] = deque(filter(index.rules_for, graph.ops if start is None else start))
    queued = set(queue)
    limit = MAX_FIRINGS * sum(1 for _ in graph.ops)
    recent: Counter[str] = Counter()

    def look_again(op: Op) -> None:
        if op not in queued and (index.rules_for(op) or is_dead(op)):
            queued.add(op)
            queue.append(op)

    with rewriter.listening(look_again):
        while queue and not log.exhausted:
            op = queue.popleft()
            queued.discard(op)
            if op.graph is not graph:
                continue
            if is_dead(op):
                rewriter.erase(op)
                continue
            fired = _fire(op, index.rules_for(op), rewriter, log)
            if fired is None:
                continue
            recent[fired] += 1
            if recent.total() > limit:
                names = ", ".join(f"{name} ({n} times)" for name, n in recent.most_common(3))
                raise PipelineError("P004", f"rules do not come to rest: {names}", nodes=op.loc)
            if op.graph is graph:
                look_again(op)


def is_dead(op: Op) -> bool:
    """Whether nothing reads an operation that exists only to be read."""
    return op.pure and not any(value._users for value in op.results)


def _fire(op: Op, rules: Sequence[Rule], rewriter: Rewriter, log: RuleLog) -> str | None:
    """The name of the first rule that rewrites `op`, None if all refuse."""
    before = repr(op) if log.keep_trace else ""
    for rule in rules:
        outcome = rule(op, rewriter)
        if outcome is None:
            log.fired[rule.__name__] += 1
            if log.keep_trace:
                log.trace.append((rule.__name__, before))
            return rule.__name__
        log.refused[rule.__name__, outcome.reason] += 1
    return None


def why_not(op: Op, rules: Sequence[Rule]) -> dict[str, Refusal]:
    """Why each of these rules does not fire on an operation; tried on a copy of its graph."""
    if op.graph is None:
        return {}
    position = list(op.graph.ops).index(op)
    reasons = {}
    for rule in RuleIndex(rules).rules_for(op):
        twin = op.graph.clone()
        outcome = rule(list(twin.ops)[position], Rewriter(twin))
        if outcome is not None:
            reasons[rule.__name__] = outcome
    return reasons
