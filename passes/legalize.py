"""Pass `legalize`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lutra.ir.core import Graph, Module, Op
from lutra.ir.decompose import decompose
from lutra.ir.errors import WAYS_OUT, BackendError
from lutra.ir.ops import Lookup, Max, Mul, Round
from lutra.ir.rewriter import Rewriter
from lutra.ir.types import Int
from lutra.passes.base import Context, Exact, Pass


@dataclass(frozen=True)
class Legalize(Pass):
    """Check the circuit against the backend's limits before emission.

    Operations that say how others compute them are decomposed before, as by `decompose`; it changes
    nothing else.
    """

    name = "legalize"
    contract = Exact
    requires = frozenset({"partitioned"})

    def run_module(self, module: Module, context: Context) -> int:
        rewriters = {name: Rewriter(graph) for name, graph in module.graphs.items()}
        for rewriter in rewriters.values():
            decompose(rewriter.graph, rewriter)
        if module.partitioned:
            self.run(module.circuit, rewriters["circuit"], context)
        return sum(rewriter.changes for rewriter in rewriters.values())

    def run(self, graph: Graph, rewriter: Rewriter, context: Context) -> None:
        for op in graph.ops:
            for problem in _problems(op, context):
                raise problem


def _problems(op: Op, context: Context) -> Iterator[BackendError]:
    width = op.index_bits if isinstance(op, Lookup | Max | Mul) else 0
    if width > context.lookup_bits:
        yield BackendError(
            "B003",
            f"a table look-up has a {width}-bit input; "
            f"backend `{context.backend}` allows {context.lookup_bits} here",
            nodes=op.loc,
            lines=_lines(op),
            help=WAYS_OUT["B003"],
        )
    for value in op.results:
        if isinstance(value.type, Int) and value.type.bits > context.value_bits:
            yield BackendError(
                "B005",
                f"a value has {value.type.bits} bits; "
                f"backend `{context.backend}` allows {context.value_bits}",
                nodes=op.loc,
                lines=_lines(op),
                help="lower the bits of weights and activations",
            )
    if isinstance(op, Round) and not all(isinstance(u, Lookup) for u in op.result.users):
        yield BackendError(
            "B002",
            "a rounded value is read by something else than a look-up",
            nodes=op.loc,
            lines=_lines(op),
            help="round only what look-ups read",
        )


def _lines(op: Op) -> list[str]:
    return [repr(value.owner) for value in op.operands] + [repr(op)]
