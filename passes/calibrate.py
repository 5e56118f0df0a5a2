"""Pass `calibrate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lutra.ir.core import Graph, Value
from lutra.ir.errors import InputError
from lutra.ir.interpreter import Interpreter
from lutra.ir.ops import Observe
from lutra.ir.rewriter import Rewriter
from lutra.ir.types import Array
from lutra.passes.base import Context, Exact, Pass
from lutra.passes.dce import eliminate_dead_code
from lutra.passes.flow import Flow

BINS = 4096
"""Resolution of the histograms behind percentile and MSE."""


@dataclass(frozen=True)
class Calibrate(Pass):
    """Find the range of every float value that is to be quantized, and note it as `observe`.

    The float graph runs on the calibration samples in onnxruntime. Values that meet in a Concat
    share one range. Methods:

    minmax      smallest to largest value seen.
    percentile  the central `percentile` percent of the values.
    mse         the range, shrunk towards 0, whose quantization to `bits` bits has the least
                mean squared error.

        %y = onnx.Relu %x        ->        %y = onnx.Relu %x
        ... conv %y                        %z = observe %y, lo=0.0, hi=3.7
                                           ... conv %z
    """

    name = "calibrate"
    contract = Exact
    requires = frozenset({"one graph"})
    provides = frozenset({"observed"})
    method: Literal["minmax", "percentile", "mse"] = "minmax"
    percentile: float = 99.99
    bits: int = 8

    def run(self, graph: Graph, rewriter: Rewriter, context: Context) -> None:
        flow = Flow(graph)
        groups = flow.groups()
        if not groups:
            return
        ranges = self._ranges(graph, groups, context)
        _note_reference(graph, groups, context)
        observed: dict[Value, Value] = {}
        for group, (lo, hi) in zip(groups, ranges, strict=True):
            for value in group:
                observe = rewriter.insert_after(value, Observe(value, lo, hi))
                observed[value] = observe.result
        _read_observed(graph, rewriter, flow, observed)
        eliminate_dead_code(graph, rewriter)

    def _ranges(
        self, graph: Graph, groups: Sequence[Sequence[Value]], context: Context
    ) -> list[tuple[float, float]]:
        values = [value for group in groups for value in group]
        which = [index for index, group in enumerate(groups) for _ in group]
        interpreter = Interpreter(graph, values)
        extremes = np.tile([np.inf, -np.inf], (len(groups), 1))
        for batch in context.batches(self.name):
            arrays = interpreter.run(batch)
            for value, group, array in zip(values, which, arrays, strict=True):
                _require_finite(value, array)
                extremes[group, 0] = min(extremes[group, 0], array.min())
                extremes[group, 1] = max(extremes[group, 1], array.max())
        if self.method == "minmax":
            return [(float(lo), float(hi)) for lo, hi in extremes]
        counts = np.zeros((len(groups), BINS))
        for batch in context.batches(self.name):
            arrays = interpreter.run(batch)
            for group, array in zip(which, arrays, strict=True):
                counts[group] += np.histogram(array, BINS, tuple(extremes[group]))[0]
        pick = self._central if self.method == "percentile" else self._least_error
        return [pick(c, lo, hi) for c, (lo, hi) in zip(counts, extremes, strict=True)]

    def _central(self, counts: Array, lo: float, hi: float) -> tuple[float, float]:
        edges = np.linspace(lo, hi, BINS + 1)
        share = np.cumsum(counts) / counts.sum()
        outside = (1 - self.percentile / 100) / 2
        first = int(np.searchsorted(share, outside, side="right"))
        last = int(np.searchsorted(share, 1 - outside))
        return float(edges[min(first, BINS - 1)]), float(edges[min(last, BINS - 1) + 1])

    def _least_error(self, counts: Array, lo: float, hi: float) -> tuple[float, float]:
        centres = lo + (np.arange(BINS) + 0.5) * (hi - lo) / BINS
        steps = 2**self.bits - 1
        best, chosen = np.inf, (lo, hi)
        for share in np.linspace(0.3, 1, 71):
            low, high = lo * share, hi * share
            step = (high - low) / steps or 1.0
            nearest = low + np.rint((np.clip(centres, low, high) - low) / step) * step
            error = float((counts * (centres - nearest) ** 2).sum())
            if error <= best:
                best, chosen = error, (float(low), float(high))
        return chosen


def _read_observed(
    graph: Graph, rewriter: Rewriter, flow: Flow, observed: dict[Value, Value]
) -> None:
    """Let what is computed on integers read the observed values.

    Movements of elements that the client needs as floats, too, are copied.
    """

    def integer(value: Value) -> Value:
        op = value.owner
        if value not in observed and value in flow.client and flow.moves_integers(op):
            mapping = {operand: integer(operand) for operand in op.operands}
            if any(old is not new for old, new in mapping.items()):
                twin = rewriter.insert_after(value, op.copy(mapping))
                observed.update(zip(op.results, twin.results, strict=True))
        return observed.get(value, value)

    for op in list(graph.ops):
        at_client = flow.client.issuperset(op.operands) and op not in flow.demanded
        moves = flow.is_movement(op) and not flow.client.issuperset(op.results)
        if moves or (flow.is_linear(op) and not at_client):
            for value in dict.fromkeys(op.operands):
                rewriter.replace_uses(value, integer(value), only=[op])


def _note_reference(
    graph: Graph, groups: Sequence[Sequence[Value]], context: Context
) -> None:
    """Keep the float graph, by whose values later passes fit integers."""
    twin = graph.clone()
    pairs = zip(graph.ops, twin.ops, strict=True)
    twins = {v: w for a, b in pairs for v, w in zip(a.results, b.results, strict=True)}
    context.notes.reference = twin
    context.notes.reference_values = {v.owner.loc: twins[v] for group in groups for v in group}


def _require_finite(value: Value, array: Array) -> None:
    if not np.isfinite(array).all():
        raise InputError(
            "C002",
            f"calibration makes {int((~np.isfinite(array)).sum())} NaN or infinite values here",
            nodes=value.owner.loc,
            lines=[repr(value.owner)],
            help="look at the inputs: a logarithm or division out of its domain is likely",
        )
