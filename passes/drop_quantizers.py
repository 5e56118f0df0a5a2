"""Pass `drop-quantizers`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lutra.ir.core import Graph, Value
from lutra.ir.ops import Dequantize, IntConstant, Quantize, constant_of
from lutra.ir.rewriter import Rewriter
from lutra.passes.base import Context, Lossy, Pass
from lutra.passes.dce import eliminate_dead_code
from lutra.passes.rules_linear import constant, node


@dataclass(frozen=True)
class DropQuantizers(Pass):
    """Take a model that brings its quantization for the float model that was trained with it.

    Quantizers of activations only clip, at the ends of their outermost steps, and weights are the
    floats that their integers stand for:

        dequantize(quantize(x, s, lo, hi), s)    ->    clip(x, s * (lo - 1/2), s * (hi + 1/2))

    What is quantized anew behind it has more levels than the model was trained with, so that it
    often is the better one; and `prune` may leave functions out. Quantizers of two levels stay, as
    they are functions in their own right.
    """

    name = "drop-quantizers"
    contract = Lossy
    requires = frozenset({"one graph", "quantized"})

    def run(self, graph: Graph, rewriter: Rewriter, context: Context) -> None:
        for op in list(graph.of(Dequantize)):
            floats = _weights(op) if op.result.constant else _clipped(op)
            if floats is not None:
                rewriter.replace(op, floats)
        eliminate_dead_code(graph, rewriter)
        context.notes.brought.clear()


def _weights(op: Dequantize) -> Value | None:
    """The floats of quantized weights."""
    source = op.q.owner
    if isinstance(source, IntConstant):
        return constant(op.eval(source.value))
    floats = constant_of(source.x) if isinstance(source, Quantize) else None
    if floats is None:
        return None
    assert isinstance(source, Quantize)
    return constant(op.eval(source.eval(floats)))


def _clipped(op: Dequantize) -> Value | None:
    """What a quantizer of activations makes of floats, but for its steps."""
    source = op.q.owner
    if not isinstance(source, Quantize) or source.hi - source.lo < 2:
        return None
    grid = source.scale, source.zero_point, op.scale, op.zero_point, op.offset
    if not all(np.array_equal(a, b) for a, b in ((grid[0], grid[2]), (grid[1], grid[3]))):
        return None
    ends = (op.eval(np.asarray(end)) for end in (source.lo - 0.5, source.hi + 0.5))
    low, high = (np.asarray(end, np.float32) for end in ends)
    if low.size == high.size == 1:
        return node("Clip", source.x, constant(low.reshape(())), constant(high.reshape(())))
    return node("Min", node("Max", source.x, constant(low)), constant(high))
