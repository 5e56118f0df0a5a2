"""Pass `calibrate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from lutra.ir.core import Graph, Value
from lutra.ir.interpreter import Interpreter
from lutra.ir.ops import Observe
from lutra.ir.rewriter import Rewriter
from lutra.passes import calibrators
from lutra.passes.base import BATCH, Context, Exact, Pass
from lutra.passes.bits import Bits, bits_for, check_bits
from lutra.passes.calibrators import Range
from lutra.passes.counting import histograms
from lutra.passes.dce import eliminate_dead_code
from lutra.passes.flow import Flow
from lutra.passes.probing import Probe
from lutra.passes.quantize import affine_quantized
from lutra.passes.statistics import Histogram

ONE_SAMPLE = "ranges from a single calibration sample, beyond which inputs are likely to reach"

Method: TypeAlias = Literal["minmax", "percentile", "mse", "entropy", "auto"]


@dataclass(frozen=True)
class Calibrate(Pass):
    """Find the range of every float value that is to be quantized, and note it as `observe`.

    The float graph runs once on the calibration samples in onnxruntime. Values that meet in a
    Concat or in a sum share one range. Methods:

    minmax      smallest to largest value seen.
    percentile  the central `percentile` percent of the values.
    mse         the range whose quantization has the least mean squared error.
    entropy     the range whose quantization tells most about the values' distribution.
    auto        whichever of these disturbs the layers that read the value least, measured.

    The last three look at the `bits` (`inputs` for the graph's inputs) that `quantize` will use.

        %y = onnx.Relu %x        ->        %y = onnx.Relu %x
        ... conv %y                        %z = observe %y, lo=0.0, hi=3.7
                                           ... conv %z
    """

    name = "calibrate"
    contract = Exact
    requires = frozenset({"one graph"})
    provides = frozenset({"observed"})
    method: Method = "minmax"
    percentile: float = 99.99
    bits: Bits = 8
    inputs: Bits = 8

    def __post_init__(self) -> None:
        check_bits(self.bits, "bits")
        check_bits(self.inputs, "inputs")

    def run(self, graph: Graph, rewriter: Rewriter, context: Context) -> None:
        flow = Flow(graph)
        groups = flow.groups()
        if not groups:
            return
        if len(next(iter(context.calibration(self.name).values()))) == 1:
            context.notes.choices.append(ONE_SAMPLE)
        found = histograms(graph, groups, self.method == "minmax", context, self.name)
        _note_reference(graph, groups, context)
        ranges = [
            self._range(group, histogram, flow, context)
            for group, histogram in zip(groups, found, strict=True)
        ]
        observed: dict[Value, Value] = {}
        for group, (lo, hi) in zip(groups, ranges, strict=True):
            for value in group:
                observe = rewriter.insert_after(value, Observe(value, lo, hi))
                observed[value] = observe.result
        _read_observed(graph, rewriter, flow, observed)
        eliminate_dead_code(graph, rewriter)

    def _range(
        self, group: Sequence[Value], histogram: Histogram, flow: Flow, context: Context
    ) -> Range:
        if self.method == "minmax":
            return calibrators.minmax(histogram)
        if self.method == "percentile":
            return calibrators.percentile(histogram, self.percentile)
        bits = min(self._bits(value, flow) for value in group)
        if self.method == "mse":
            return calibrators.mse(histogram, bits)
        if self.method == "entropy":
            return calibrators.entropy(histogram, bits)
        candidates = [
            calibrators.mse(histogram, bits),
            calibrators.minmax(histogram),
            calibrators.percentile(histogram, self.percentile),
            calibrators.entropy(histogram, bits),
        ]
        return self._least_disturbing(list(dict.fromkeys(candidates)), group, flow, context)

    def _bits(self, value: Value, flow: Flow) -> int:
        if value in flow.client:
            return bits_for(self.inputs, value.owner.loc, "inputs")
        return bits_for(self.bits, value.owner.loc, "bits")

    def _least_disturbing(
        self, candidates: Sequence[Range], group: Sequence[Value], flow: Flow, context: Context
    ) -> Range:
        samples = {name: a[:BATCH] for name, a in context.calibration(self.name).items()}
        errors = np.zeros(len(candidates))
        for value in group:
            bits = self._bits(value, flow)
            (x,) = Interpreter(flow.graph, [value]).run(samples)
            probe = Probe(value, flow)
            exact = probe.run(x)
            for index, (lo, hi) in enumerate(candidates):
                rounded = probe.run(affine_quantized(x, lo, hi, bits))
                for a, b in zip(exact, rounded, strict=True):
                    errors[index] += float(np.square(a - b).sum(dtype=np.float64))
        return candidates[int(np.argmin(errors))]


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
        clear = flow.client.issuperset(op.operands) or flow.is_product(op)
        at_client = clear and op not in flow.demanded
        moves = flow.is_movement(op) and not flow.client.issuperset(op.results)
        if moves or (flow.is_linear(op) and not at_client):
            for value in dict.fromkeys(op.operands):
                rewriter.replace_uses(value, integer(value), only=[op])


def _note_reference(graph: Graph, groups: Sequence[Sequence[Value]], context: Context) -> None:
    """Keep the float graph, by whose values later passes fit integers."""
    twin = graph.clone()
    pairs = zip(graph.ops, twin.ops, strict=True)
    twins = {v: w for a, b in pairs for v, w in zip(a.results, b.results, strict=True)}
    context.notes.reference = twin
    context.notes.reference_of = twins
    context.notes.reference_values = {v.owner.loc: twins[v] for group in groups for v in group}
