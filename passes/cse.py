"""Pass `cse`: common subexpression elimination."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lutra.ir.core import Graph, Op
from lutra.ir.rewriter import Rewriter
from lutra.passes.base import Context, Exact, Pass

RANDOM = frozenset({"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike"}) | frozenset(
    {"RandomUniform", "RandomUniformLike"}
)
"""ONNX operators of which two runs differ."""


@dataclass(frozen=True)
class EliminateCommonSubexpressions(Pass):
    """Compute once what is computed twice: equal operations on equal operands become one.

    The one that stays takes over the origins of the other.
    """

    name = "cse"
    contract = Exact

    def run(self, graph: Graph, rewriter: Rewriter, context: Context) -> None:
        seen: dict[Hashable, Op] = {}
        for op in graph.ops:
            if not op.pure or getattr(op, "op_type", None) in RANDOM:
                continue
            key = _key(op)
            if key in seen:
                rewriter.replace(op, seen[key].results)
            else:
                seen[key] = op


def _key(op: Op) -> Hashable:
    operands = tuple(
        field if not isinstance(field, tuple) else tuple(id(value) for value in field)
        for field in (getattr(op, name) for name in op.operand_fields)
    )
    return type(op), operands, _hashable(op.attributes)


def _hashable(value: Any) -> Hashable:
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, Mapping):
        return tuple((name, _hashable(item)) for name, item in sorted(value.items()))
    if isinstance(value, list | tuple):
        return tuple(_hashable(item) for item in value)
    return type(value), value
