"""Pass `lower-quantized`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lutra.ir.core import Graph, Op
from lutra.ir.ops import Dequantize, Onnx, Quantize
from lutra.ir.rewriter import Rewriter
from lutra.ir.traits import Trait, trait
from lutra.passes.affine import dequantized
from lutra.passes.base import Context, Lossy, Pass
from lutra.passes.dce import eliminate_dead_code
from lutra.passes.flow import Flow, encrypted_operands, is_onnx
from lutra.passes.lower_joins import JOINS
from lutra.passes.lower_linear import LINEAR_LOWERINGS
from lutra.passes.lower_movement import MOVEMENT_LOWERINGS
from lutra.passes.lower_pooling import POOLING_LOWERINGS
from lutra.passes.regions import merge_sources

LOWERINGS = {**LINEAR_LOWERINGS, **MOVEMENT_LOWERINGS, **POOLING_LOWERINGS}
"""For each ONNX operator that has an integer form, the function that builds it."""


@dataclass(frozen=True)
class LowerQuantized(Pass):
    """Turn operators on dequantized values into integer operations, dequantized afterwards.

    linear(dequantize(x), dequantize(w)) -> dequantize(linear(x, w)), and the same for movements of
    elements, pooling, sums, products and maxima of encrypted values, and constants added or
    multiplied. Where two scales meet, the integers are brought to one by clear integer factors,
    which costs no look-up. What is left of float operators afterwards are functions of single
    elements.
    """

    name = "lower-quantized"
    contract = Lossy
    requires = frozenset({"quantized"})
    provides = frozenset({"regions"})

    def run(self, graph: Graph, rewriter: Rewriter, context: Context) -> None:
        flow = Flow(graph)
        meeting = {op for op in graph.ops if is_onnx(op, *JOINS) and _meet(op, flow)}
        for op in graph.ops:
            if isinstance(op, Quantize):
                self._drop_requantization(op, rewriter)
                continue
            if not isinstance(op, Onnx) or op.domain:
                continue
            if op.op_type not in LOWERINGS and op not in meeting:
                continue
            if not any(dequantized(value) for value in op.operands):
                continue
            if op not in flow.demanded and (_is_dear(op) or op in meeting):
                continue  # the client does it
            lowering = JOINS[op.op_type] if op in meeting else LOWERINGS[op.op_type]
            values = lowering(op)
            if values is not None:
                _note_reference(op, values, context)
                rewriter.replace(op, [value.result for value in values])
        merge_sources(graph, rewriter)
        eliminate_dead_code(graph, rewriter)

    @staticmethod
    def _drop_requantization(op: Quantize, rewriter: Rewriter) -> None:
        """quantize(dequantize(q)) -> q, where both have the same grid and nothing is clipped."""
        value = dequantized(op.x)
        if value is None or value.offset.any():
            return
        same = (value.scale == op.scale).all() and (value.zero_point == op.zero_point).all()
        if same and op.lo <= value.q.int_type.min and value.q.int_type.max <= op.hi:
            rewriter.replace(op, value.q)


def _meet(op: Op, flow: Flow) -> bool:
    """Whether an operator that may join two encrypted values does so."""
    return flow.is_product(op) if is_onnx(op, "MatMul") else flow.meets(op)


def _note_reference(op: Onnx, values: Sequence[Dequantize], context: Context) -> None:
    """What an operator's results stand for in the float model, those that replace them do."""
    twins = context.notes.reference_of
    for old, new in zip(op.results, values, strict=True):
        if old in twins:
            twins[new.result] = twins[old]


def _is_dear(op: Onnx) -> bool:
    """Whether an operation bootstraps, or makes more values than it reads."""
    read = sum(math.prod(value.shape) for value in encrypted_operands(op))
    made = sum(math.prod(value.shape) for value in op.results)
    return trait(op) is Trait.ORDER or made > read
