"""Pass `decompose`."""

from __future__ import annotations

from dataclasses import dataclass

from lutra.ir.core import Graph
from lutra.ir.decompose import decompose
from lutra.ir.rewriter import Rewriter
from lutra.passes.base import Context, Exact, Pass


@dataclass(frozen=True)
class Decompose(Pass):
    """Put the decomposition of every operation that has one in its place.

    Operations of plugins say by `Op.decompose` how other operations compute them. `legalize` does
    this too; earlier in a pipeline it lets `canonicalize` and `cse` see what they consist of.
    """

    name = "decompose"
    contract = Exact

    def run(self, graph: Graph, rewriter: Rewriter, context: Context) -> None:
        decompose(graph, rewriter)
