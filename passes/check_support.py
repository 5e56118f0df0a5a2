"""Pass `check-support`."""

from __future__ import annotations

from collections.abc import Iterator
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
        found = list(complaints(graph))
        if found:
            raise ModelError(
                "F004",
                f"{len(found)} node(s) of the model cannot be computed under encryption",
                nodes=[name for names, _ in found for name in names],
                lines=[line for _, line in found],
                help="replace these nodes, or cut the model there",
            )


def complaints(graph: Graph) -> Iterator[tuple[tuple[str, ...], str]]:
    """For each node that cannot run on encrypted values the names it goes by, and the reason."""
    for op, reason in Flow(graph).unsupported():
        kind = f"{op.domain}::{op.op_type}" if op.domain else op.op_type
        yield op.loc, f"{kind} {' + '.join(op.loc) or '(unnamed)'}: {reason}"
