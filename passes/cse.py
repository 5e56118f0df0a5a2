"""Pass `cse`: common subexpression elimination."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from lutra.ir.core import Graph, Op
from lutra.ir.keys import key_of
from lutra.ir.ops import Onnx
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
            if not op.pure or (isinstance(op, Onnx) and op.op_type in RANDOM):
                continue
            twin = seen.setdefault(_key(op), op)
            if twin is not op:
                origins = twin.loc
                rewriter.replace(op, twin.results)
                if not op.operands:  # a constant may serve several layers and is of none
                    twin.loc = origins


def _key(op: Op) -> Hashable:
    fields = vars(op)
    operands = [fields[name] for name in op.operand_fields]
    return type(op), *operands, *[key_of(fields[name]) for name in op.attribute_fields]
