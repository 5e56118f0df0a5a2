"""Pass `cse`: common subexpression elimination."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from lutra.ir.core import Graph, Op, Value
from lutra.ir.keys import key_of
from lutra.ir.ops import Constant, Onnx
from lutra.ir.rewriter import Rewriter
from lutra.passes.base import Context, Exact, Pass

RANDOM = frozenset({"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike"}) | frozenset(
    {"RandomUniform", "RandomUniformLike"}
)
"""ONNX operators of which two runs differ."""

LARGE = 1024
"""Constants of more elements stay, and are compared only where all else that reads them is equal:
to compare all weights of a model would take longer than all other work.
"""


@dataclass(frozen=True)
class EliminateCommonSubexpressions(Pass):
    """Compute once what is computed twice: equal operations on equal operands become one.

    The one that stays takes over the origins of the other. Large constants stay apart where
    nothing but them is equal.
    """

    name = "cse"
    contract = Exact

    def run(self, graph: Graph, rewriter: Rewriter, context: Context) -> None:
        seen: dict[Hashable, Op] = {}
        large: dict[Value, Hashable] = {}
        for op in graph.ops:
            if not op.pure or (isinstance(op, Onnx) and op.op_type in RANDOM):
                continue
            if isinstance(op, Constant) and op.value.size > LARGE:
                large[op.result] = key_of(op.value)
                continue
            twin = seen.setdefault(_key(op, large), op)
            if twin is not op:
                origins = twin.loc
                rewriter.replace(op, twin.results)
                if not op.operands:  # a constant may serve several layers and is of none
                    twin.loc = origins


def _key(op: Op, large: Mapping[Value, Hashable]) -> Hashable:
    """Equal for equal operations. `large` stands in for what it names among the operands."""
    fields = vars(op)
    operands: list[Any] = [fields[name] for name in op.operand_fields]
    if large:
        operands = [
            tuple([large.get(v, v) for v in field])
            if type(field) is tuple
            else large.get(field, field)
            for field in operands
        ]
    return type(op), *operands, *[key_of(fields[name]) for name in op.attribute_fields]
