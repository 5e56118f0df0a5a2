"""What becomes of a float value in the layers that read it."""

from __future__ import annotations

import numpy as np

from lutra.ir.core import Graph, Op, Value
from lutra.ir.interpreter import Interpreter
from lutra.ir.ops import Onnx
from lutra.ir.rewriter import Rewriter
from lutra.ir.traits import WEIGHTED
from lutra.ir.types import Array
from lutra.passes.flow import Flow, encrypted_operands, is_constant, is_onnx


class Probe:
    """Runs the weighted layers that read a value, directly or moved, on arrays put in its place.

    Where other operations read it, it is looked at as it is.
    """

    def __init__(self, value: Value, flow: Flow) -> None:
        self._graph = Graph()
        self._rewriter = Rewriter(self._graph)
        x = self._rewriter.input("x", value.type)
        self._twins: dict[Value, Value] = {value: x}
        moved, ends = {value}, dict[Value, None]()
        for op in flow.graph.ops:
            if moved.isdisjoint(op.operands):
                continue
            alone = isinstance(op, Onnx) and moved.issuperset(encrypted_operands(op))
            if alone and is_onnx(op, *WEIGHTED):
                ends[self._copied(op)] = None
            elif alone and flow.is_movement(op):
                self._copied(op)
                moved.update(op.results)
            else:
                ends.update((self._twins[v], None) for v in op.operands if v in moved)
        self._ends = list(ends) or [x]
        self._rewriter.returns(self._ends)
        self._interpreter = Interpreter(self._graph)

    def _copied(self, op: Op) -> Value:
        for value in op.operands:
            if value not in self._twins and is_constant(value):
                self._copied(value.owner)
        twin = self._rewriter.insert(op.copy(self._twins), loc=op.loc)
        self._twins.update(zip(op.results, twin.results, strict=True))
        return twin.results[0]

    def run(self, x: Array) -> list[Array]:
        """What the readers make of x (samples, *shape), less each output channel's mean.

        A mean error is no loss: biases take it in.
        """
        found = self._interpreter.run([x])
        return [_without_mean(v, y) for v, y in zip(self._ends, found, strict=True)]


def _without_mean(value: Value, y: Array) -> Array:
    if not is_onnx(value.owner, *WEIGHTED):
        return y
    channel = 2 if is_onnx(value.owner, "Conv") else y.ndim
    others = tuple(axis for axis in range(y.ndim) if axis != channel - 1)
    return np.asarray(y - y.mean(others, keepdims=True))
