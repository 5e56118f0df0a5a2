"""Pass `dce`: dead code elimination."""

from __future__ import annotations

from dataclasses import dataclass

from lutra.ir.core import Graph
from lutra.ir.rewriter import Rewriter
from lutra.passes.base import Context, Exact, Pass
from lutra.passes.rules import is_dead


@dataclass(frozen=True)
class EliminateDeadCode(Pass):
    """Erase operations whose results nothing reads."""

    name = "dce"
    contract = Exact

    def run(self, graph: Graph, rewriter: Rewriter, context: Context) -> None:
        eliminate_dead_code(graph, rewriter)


def eliminate_dead_code(graph: Graph, rewriter: Rewriter) -> None:
    """One sweep from the end suffices: users stand behind what they read."""
    for op in reversed(list(graph.ops)):
        if is_dead(op):
            rewriter.erase(op)
