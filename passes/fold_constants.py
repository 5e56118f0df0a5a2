"""Pass `fold-constants`."""

from __future__ import annotations

from dataclasses import dataclass

from lutra.ir.core import Graph, Op, Value
from lutra.ir.interpreter import Interpreter
from lutra.ir.ops import Constant, Onnx
from lutra.ir.rewriter import Rewriter
from lutra.passes.base import Context, Exact, Pass
from lutra.passes.cse import RANDOM


@dataclass(frozen=True)
class FoldConstants(Pass):
    """Compute in onnxruntime, once, what depends on constants only.

    f(constant, constant) -> constant
    """

    name = "fold-constants"
    contract = Exact

    def run(self, graph: Graph, rewriter: Rewriter, context: Context) -> None:
        clear: set[Value] = set()
        folded: list[Op] = []
        for op in graph.ops:
            if not all(value.clear for value in op.results):
                continue
            if isinstance(op, Constant):
                clear.add(op.result)
            elif _is_function(op) and clear.issuperset(op.operands):
                clear.update(op.results)
                folded.append(op)
        if not folded:
            return
        gone = set(folded)
        wanted = [v for op in folded for v in op.results if not gone.issuperset(v.users)]
        for value, array in zip(wanted, Interpreter(graph, wanted).run({}), strict=True):
            op = value.owner
            constant = rewriter.insert(Constant(array[0]), before=op, loc=op.loc)
            rewriter.replace_uses(value, constant.result)
        for op in reversed(folded):
            rewriter.erase(op)


def _is_function(op: Op) -> bool:
    return isinstance(op, Onnx) and bool(op.operands) and op.op_type not in RANDOM
