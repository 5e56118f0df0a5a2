"""Pass `prune`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lutra.ir.core import Graph, Value
from lutra.ir.errors import PipelineError
from lutra.ir.interpreter import Interpreter
from lutra.ir.ops import Onnx, constant_of
from lutra.ir.rewriter import Rewriter, merge
from lutra.ir.types import Array, Ints
from lutra.passes.base import Context, Lossy, Pass
from lutra.passes.cut_out import cut_out
from lutra.passes.dce import eliminate_dead_code
from lutra.passes.elimination import Fit, Problem
from lutra.passes.flow import Flow
from lutra.passes.hidden import Hidden, hidden
from lutra.passes.importance import importance, rows_of
from lutra.passes.mixtures import enough
from lutra.passes.rules_linear import constant, node, reshaped

SIZE = 2048
"""Elements of a layer's inputs and outputs together up to which it is taken as one matrix."""
LEAST, MOST = 1024, 8192
"""Samples that fits are made on; mixtures are added where calibration has fewer."""
NOTHING = 1e-6
"""What a constant may move results by, relative to their spread, to be left out."""


@dataclass(frozen=True)
class Prune(Pass):
    """Do without functions of those elements for which linear ones can stand in.

    Linear operations cost next to nothing under encryption, look-ups nearly all. So of a layer's
    elements only those keep their function that matter:

        linear(f(linear(x)))    ->    f(x @ V + v) @ W + x @ U + u

    with a column of V for each element that is kept. What the others gave is left to x, the
    layer's own input, and to the elements that stay: W, U and u are fitted to what was there on
    calibration samples, as far as some of them confirm it for others. Elements go one by one, that
    one first whose loss the fit makes up for best.

    error: root of the mean squared error that one layer's loss may cause in the results, relative
        to their spread. Measured on every other sample; fitted on those between.

    Layers become matrices, whatever they were: `Conv` as well, one column for every element. Those
    of more than 2048 inputs and outputs are left alone, and so is what more than linear operations
    read, such as pooling by maxima.
    """

    name = "prune"
    contract = Lossy
    error: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.error < 1:
            raise PipelineError("P002", f"`error` is {self.error!r}, not between 0 and 1")

    def run(self, graph: Graph, rewriter: Rewriter, context: Context) -> None:
        order = [found.before for found in hidden(graph, Flow(graph))]
        for done, before in enumerate(reversed(order)):
            context.progress("pruning", done, len(order))
            layers = {found.before: found for found in hidden(graph, Flow(graph))}
            if before in layers and _fits(layers[before]):
                self._prune(layers[before], rewriter, context)
                eliminate_dead_code(graph, rewriter)
        context.progress("pruning", len(order), len(order))

    def _prune(self, layer: Hidden, rewriter: Rewriter, context: Context) -> None:
        graph = rewriter.graph
        feeds = enough(context.calibration(self.name), LEAST, MOST)
        first, offset = affine(graph, layer.x, [layer.before])
        behind, _ = affine(graph, layer.after, layer.readers)
        values = Interpreter(graph, [layer.x, layer.before, layer.after, *layer.readers]).run(feeds)
        x, z, a, *y = (rows_of(array) for array in values)
        weights = importance(graph, layer.readers, feeds)
        problem = Problem(
            costly=a,
            free=x,
            target=np.concatenate(y, 1) * weights,
            weights=behind * weights,
            stand_in=first * _slopes(z, a),
        )
        fit = problem.fewest(self.error**2)
        if len(fit.kept) < a.shape[1]:
            _replace(layer, fit, weights, first, offset, rewriter)


def _fits(layer: Hidden) -> bool:
    return layer.x.size + layer.before.size <= SIZE and layer.after.size > 0


def affine(graph: Graph, x: Value, values: Sequence[Value]) -> tuple[Array, Array]:
    """(a, b) with x @ a + b for some values, one after the other, that are affine functions of x.

    a: [elements of x, elements of the values].
    """
    size = x.size
    probes = np.concatenate([np.zeros((1, size)), np.eye(size)]).astype(np.float32)
    found = cut_out(graph, [x], values).run([probes.reshape(-1, *x.shape)])
    rows = np.concatenate([rows_of(array) for array in found], 1)
    return rows[1:] - rows[0], rows[0]


def _slopes(z: Array, a: Array) -> Array:
    """The slope of the straight line that stands for each element's function best."""
    moved = z - z.mean(0)
    variance = np.square(moved).mean(0)
    return np.asarray((moved * a).mean(0) / np.where(variance == 0, 1.0, variance))


def _replace(
    layer: Hidden, fit: Fit, weights: Array, first: Array, offset: Array, rewriter: Rewriter
) -> None:
    """Let the readers' results come from what is kept, and from x."""
    before = layer.ops[0]
    origins = merge(layer.before.owner.loc, layer.ops[-1].loc)
    x = reshaped(layer.x, (1, layer.x.size))
    thin = _thinned(layer, fit.kept, x, first, offset) if len(fit.kept) else None
    if thin is not None:
        rewriter.insert(thin.owner, before=before, loc=origins)
    elif x.owner.graph is None:
        rewriter.insert(x.owner, before=before, loc=origins)
    constants = np.where(np.abs(fit.constant) > NOTHING, fit.constant, 0)
    ends = np.cumsum([value.size for value in layer.readers])
    for value, end in zip(layer.readers, ends, strict=True):
        part = slice(end - value.size, end)
        y = node("MatMul", x, constant((fit.skip / weights)[:, part], np.float32))
        if thin is not None:
            own = node("MatMul", thin, constant((fit.weights / weights)[:, part], np.float32))
            y = node("Add", own, y)
        y = node("Add", y, constant((constants / weights)[None, part], np.float32))
        rewriter.replace(value.owner, reshaped(y, value.shape))


def _thinned(layer: Hidden, kept: Ints, x: Value, first: Array, offset: Array) -> Value:
    """f of the elements that are kept, [1, kept]."""
    z = node("MatMul", x, constant(first[:, kept], np.float32))
    twins = {layer.before: node("Add", z, constant(offset[None, kept], np.float32))}
    for op in layer.ops:
        assert isinstance(op, Onnx)
        for value in op.operands:
            array = constant_of(value)
            if array is not None:
                twins[value] = constant(_taken(array, op, kept), array.dtype)
        inputs = [value and twins.get(value, value) for value in op.inputs]
        twins[op.result] = node(op.op_type, *inputs, **op.attrs)
    return twins[layer.after]


def _taken(array: Array, op: Onnx, kept: Ints) -> Array:
    """A function's constant for the elements that are kept."""
    if array.size == 1:
        return array.reshape(())
    return np.broadcast_to(array, op.result.shape).reshape(-1)[kept][None]
