"""Pass `fold-constants`."""

from __future__ import annotations

from dataclasses import dataclass

from lutra.ir.core import Graph, Op, Value, dependencies
from lutra.ir.interpreter import Interpreter
from lutra.ir.ops import Constant, Onnx, constant_of
from lutra.ir.rewriter import Rewriter
from lutra.ir.types import Array, sealed
from lutra.passes.base import Context, Exact, Pass
from lutra.passes.cse import RANDOM

REGROUPING = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
"""Operators that keep all elements."""


@dataclass(frozen=True)
class FoldConstants(Pass):
    """Compute in onnxruntime, once, what depends on constants only.

    f(constant, constant) -> constant
    """

    name = "fold-constants"
    contract = Exact

    def run(self, graph: Graph, rewriter: Rewriter, context: Context) -> None:
        for op in graph.ops:
            if isinstance(op, Onnx) and (array := _regrouped(op)) is not None:
                _insert(rewriter, op.result, array)
                rewriter.erase(op)
        known: set[Value] = set()
        folded: list[Op] = []
        for op in graph.ops:
            if not all(value.constant for value in op.results):
                continue
            if isinstance(op, Constant):
                known.add(op.result)
            elif _is_function(op) and known.issuperset(op.operands):
                known.update(op.results)
                folded.append(op)
        if not folded:
            return
        gone = set(folded)
        wanted = [v for op in folded for v in op.results if not gone.issuperset(v.users)]
        for value, array in zip(wanted, Interpreter(graph, wanted).run({}), strict=True):
            _insert(rewriter, value, sealed(array[0]))
        for op in reversed(folded):
            rewriter.erase(op)


def _insert(rewriter: Rewriter, value: Value, array: Array) -> None:
    """A constant in the place of a value."""
    op = value.owner
    constant = rewriter.insert(Constant(array), before=op, loc=op.loc)
    rewriter.replace_uses(value, constant.result)


def _regrouped(op: Onnx) -> Array | None:
    """What an operator that keeps all elements makes of a constant: mostly a view of it.

    So no weight is copied that is only transposed. None for what needs computing.
    """
    if op.op_type not in REGROUPING or op.domain or not op.result.constant:
        return None
    array = constant_of(op.operands[0])
    if array is None:
        return None
    if op.op_type == "Transpose":
        return array.transpose(op.attrs.get("perm"))
    return array.reshape(op.types[0].shape)


def computed(value: Value, graph: Graph) -> Array | None:
    """What a value is if it depends on constants alone and comes out the same every time."""
    if not value.constant:
        return None
    array = constant_of(value)
    if array is not None:
        return array
    if any(isinstance(op, Onnx) and not _is_function(op) for op in dependencies([value])):
        return None
    result: Array = Interpreter(graph, [value]).run({})[0][0]
    return result


def _is_function(op: Op) -> bool:
    return isinstance(op, Onnx) and bool(op.operands) and op.op_type not in RANDOM
