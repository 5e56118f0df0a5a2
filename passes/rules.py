"""Rewrite rules and the driver that applies them until nothing changes.

A rule is a function of one operation, typed by the class that it rewrites, whose docstring is an
equation. It returns None where it rewrote, and `no(reason)` where it refuses.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from lutra.ir.core import Graph, Op
from lutra.ir.errors import PipelineError
from lutra.ir.rewriter import Rewriter


@dataclass(frozen=True)
class Refusal:
    """Why a rule did not fire."""

    reason: str


def no(reason: str) -> Refusal:
    """The answer of a rule that does not apply."""
    return Refusal(reason)


Outcome: TypeAlias = Refusal | None
Rule: TypeAlias = Callable[[Any, Rewriter], Outcome]

MAX_SWEEPS = 100


def rewritten_class(rule: Rule) -> type[Op]:
    """The class of operations that a rule rewrites: its first parameter's annotation."""
    first = next(iter(inspect.signature(rule).parameters))
    kind: type[Op] = typing.get_type_hints(rule)[first]
    return kind


def apply_rules(graph: Graph, rewriter: Rewriter, rules: Sequence[Rule]) -> None:
    """Sweep over the graph, applying rules in their order, until a sweep changes nothing.

    Error P004 if it does not come to rest, naming the rules that still fire.
    """
    by_class: dict[type[Op], list[Rule]] = {}
    for rule in rules:
        by_class.setdefault(rewritten_class(rule), []).append(rule)
    fired: list[str] = []
    for _ in range(MAX_SWEEPS):
        fired.clear()
        for op in graph.ops:
            for rule in by_class.get(type(op), ()):
                if rule(op, rewriter) is None:
                    fired.append(rule.__name__)
                    break
        if not fired:
            return
    raise PipelineError("P004", f"rules do not come to rest: {', '.join(sorted(set(fired)))}")
