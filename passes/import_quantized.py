"""Pass `import-quantized`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lutra.ir.core import Graph, Op, Value
from lutra.ir.ops import Dequantize, IntConstant, Onnx, Quantize
from lutra.ir.rewriter import Rewriter
from lutra.ir.traits import WEIGHTED
from lutra.passes.base import Context, Pass, Within
from lutra.passes.dce import eliminate_dead_code
from lutra.passes.flow import is_onnx
from lutra.passes.quantize_linear import QuantizeLinear
from lutra.passes.rules import apply_rules
from lutra.passes.rules_qoperator import QOPERATOR_RULES
from lutra.passes.rules_quantized import as_floats


@dataclass(frozen=True)
class ImportQuantized(Pass):
    """Take over the quantization that a model brings: its scales, zero points and bits.

    - QuantizeLinear and DequantizeLinear become `quantize` and `dequantize`, also with a Clip to
      fewer bits or movements of elements between them (QDQ, QCDQ), and so do their constants. Fake
      quantizers (QONNX) are imported as such pairs already.
    - Operators on quantized operands (QOperator: QLinearConv, MatMulInteger, ...) become float
      operators between those. What DynamicQuantizeLinear quantizes is left to calibration.
    - Quantization that no layer comes behind is left to the client, as float operators.

        %1 = onnx.QuantizeLinear %x, %s          ->    %1 = quantize %x, scale=0.5, lo=-4, hi=3
        %2 = onnx.Clip %1, -4, 3                       %2 = dequantize %1, scale=0.5
        %3 = onnx.DequantizeLinear %2, %s

    It goes first, since `canonicalize` folds constants, dequantized weights among them. The passes
    behind it leave quantized values and weights as they are; `calibrate` and `quantize` add what
    is missing.
    """

    name = "import-quantized"
    contract = Within(1e-5)
    requires = frozenset({"one graph"})
    provides = frozenset({"quantized"})

    def run(self, graph: Graph, rewriter: Rewriter, context: Context) -> None:
        apply_rules(graph, rewriter, QOPERATOR_RULES, context.log)
        needed = _before_layers(graph)
        pairs = QuantizeLinear(rewriter)
        for op in graph.ops:
            if isinstance(op, Onnx) and not op.domain:
                pairs.visit(op, needed=op in needed)
            elif isinstance(op, Quantize) and op not in needed:
                _leave_to_client(op, rewriter)
        eliminate_dead_code(graph, rewriter)
        context.notes.brought |= {name for op in _quantized_layers(graph) for name in op.loc}


def _before_layers(graph: Graph) -> set[Op]:
    """Weighted layers, and all that they depend on."""
    found: set[Op] = set()
    for op in reversed(list(graph.ops)):
        users = (user for value in op.results for user in value.users)
        if is_onnx(op, *WEIGHTED) or any(user in found for user in users):
            found.add(op)
    return found


def _quantized_layers(graph: Graph) -> Iterator[Op]:
    """Weighted layers with weights that the model itself quantizes."""
    for op in graph.ops:
        if is_onnx(op, *WEIGHTED) and any(map(_is_quantized_constant, op.operands)):
            yield op


def _is_quantized_constant(value: Value) -> bool:
    stack = [value.owner] if value.constant else []
    while stack:
        op = stack.pop()
        if isinstance(op, Quantize | IntConstant):
            return True
        stack += [operand.owner for operand in op.operands]
    return False


def _leave_to_client(op: Quantize, rewriter: Rewriter) -> None:
    """dequantize(quantize(x)) -> the same by float operators, which run in the clear"""
    for user in op.result.users:
        if isinstance(user, Dequantize):
            floats = as_floats(op, user)
            rewriter.insert(floats.owner, before=user, loc=op.loc)
            rewriter.replace_uses(user.result, floats)
