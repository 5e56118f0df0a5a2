"""Pass `check-support`."""

from __future__ import annotations

from dataclasses import dataclass

from lutra.ir.core import Graph
from lutra.ir.errors import ModelError
from lutra.ir.rewriter import Rewriter
from lutra.passes.base import Context, Exact, Pass
from lutra.passes.flow import Flow


@dataclass(frozen=True)
class CheckSupport(Pass):
    """Refuse a model with operations that cannot run on encrypted values, naming all of them.

    What stands before the first or behind the last weighted layer runs at the client and may be
    anything.
    """

    name = "check-support"
    contract = Exact

    def run(self, graph: Graph, rewriter: Rewriter, context: Context) -> None:
        found = list(Flow(graph).unsupported())
        if found:
            raise ModelError(
                "F004",
                f"{len(found)} node(s) of the model cannot be computed under encryption",
                nodes=[name for op, _ in found for name in op.loc],
                lines=[
                    f"{op.domain + '::' if op.domain else ''}{op.op_type}"
                    f" {' + '.join(op.loc) or '(unnamed)'}: {reason}"
                    for op, reason in found
                ],
                help="replace these nodes, or cut the model there",
            )
