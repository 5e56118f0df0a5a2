"""Pass `canonicalize`: one form for what can be written in several ways."""

from __future__ import annotations

from dataclasses import dataclass

from lutra.ir.core import Graph, Op
from lutra.ir.rewriter import Rewriter
from lutra.passes.base import Context, Pass, Within
from lutra.passes.dce import eliminate_dead_code
from lutra.passes.fold_constants import FoldConstants
from lutra.passes.rules import apply_rules
from lutra.passes.rules_float import FLOAT_RULES
from lutra.passes.rules_integer import INTEGER_RULES
from lutra.passes.rules_parts import PARTS_RULES
from lutra.passes.rules_quantized import QUANTIZED_RULES

RULES = (*FLOAT_RULES, *QUANTIZED_RULES, *INTEGER_RULES, *PARTS_RULES)


@dataclass(frozen=True)
class Canonicalize(Pass):
    """Bring a graph to the form that the other passes expect.

    Float level: linear operators without bias and padding (`MatMul`, `Conv`, then `Add`; `Pad`
    before), constants multiplied behind them folded into their weights, movements of elements
    before elementwise operators, max-pooling behind monotone ones, broadcasting made explicit.
    Integer level: clear factors and terms merged and taken into weights, layers without what
    nothing reads of them, movements merged. What is dead or constant by then goes.
    """

    name = "canonicalize"
    contract = Within(1e-5)

    def run(self, graph: Graph, rewriter: Rewriter, context: Context) -> None:
        before = -1
        while rewriter.changes != before:
            before = rewriter.changes
            self._settle(graph, rewriter, context)

    def _settle(self, graph: Graph, rewriter: Rewriter, context: Context) -> None:
        """Look at all operations, and again at those near to what folding has changed."""
        look_at = dict.fromkeys(graph.ops)
        while look_at:
            apply_rules(graph, rewriter, RULES, context.log, look_at)
            changed: dict[Op, None] = {}
            with rewriter.listening(changed.setdefault):
                FoldConstants().run(graph, rewriter, context)
                eliminate_dead_code(graph, rewriter)
            encrypted = [value for op in changed for value in op.results if not value.constant]
            look_at = changed | dict.fromkeys(user for value in encrypted for user in value.users)
