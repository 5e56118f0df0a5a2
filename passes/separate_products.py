"""Pass `separate-products`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lutra.ir.core import Graph, Value
from lutra.ir.interpreter import Interpreter
from lutra.ir.ops import Onnx
from lutra.ir.rewriter import Rewriter
from lutra.passes.base import Context, Lossy, Pass
from lutra.passes.dce import eliminate_dead_code
from lutra.passes.flow import Flow, is_onnx, is_truth
from lutra.passes.rules_layers import layer_and_term, layer_like
from lutra.passes.rules_linear import constant, node


@dataclass(frozen=True)
class SeparateProducts(Pass):
    """Let products of accumulators be functions of sums, which look-ups read rounded.

        x * y  ->  (u² - v²) / 4     with u = k * x + y / k and v = k * x - y / k
        p * x  ->  f(x / 2M + p)         for p that is 0 or 1; f(u) = 2M (u - 1) if 2u > 1, else 0

    k lets both terms reach equally far on the calibration data, and M is how far x does. Each takes
    a look-up less for every operand than a product of values that were looked up to have few bits.
    What is the result of a function has few bits already: products of two such values stay. So do
    products with clear values, which take no look-up.
    """

    name = "separate-products"
    contract = Lossy
    requires = frozenset({"one graph"})

    def run(self, graph: Graph, rewriter: Rewriter, context: Context) -> None:
        flow = Flow(graph)
        products = [op for op in graph.of(Onnx) if op in flow.demanded and _is_separable(op, flow)]
        if not products:
            return
        reach = self._reach(graph, [value for op in products for value in op.operands], context)
        for op in products:
            x, y = op.operands
            if reach[x] and reach[y]:
                if is_truth(x) or is_truth(y):
                    separated = _chosen(x, y, reach[x], reach[y])
                else:
                    separated = _squares(op, (reach[y] / reach[x]) ** 0.5, rewriter)
                rewriter.replace(op, separated)
        eliminate_dead_code(graph, rewriter)

    def _reach(self, graph: Graph, values: Sequence[Value], context: Context) -> dict[Value, float]:
        """The largest magnitude of each value on the calibration data."""
        wanted = list(dict.fromkeys(values))
        interpreter = Interpreter(graph, wanted)
        found = dict.fromkeys(wanted, 0.0)
        for batch in context.batches(self.name):
            for value, array in zip(wanted, interpreter.run(batch), strict=True):
                found[value] = max(found[value], float(np.abs(array).max()))
        return found


def _is_separable(op: Onnx, flow: Flow) -> bool:
    """Whether it multiplies two values, of which one at least is no few bits."""
    return is_onnx(op, "Mul") and flow.is_squared(op) and any(map(flow.is_accumulator, op.operands))


def _squares(op: Onnx, k: float, rewriter: Rewriter) -> Value:
    """v is made twice as large, so that it has layers of its own: u's would else be the same."""
    x, y = op.operands

    def scaled(value: Value, factor: float) -> Value:
        found = layer_and_term(value)
        if found is None:
            return node("Mul", value, constant(factor, np.float32))
        layer, weights, term = found
        return layer_like(layer, weights * factor, term * factor, op, rewriter)

    u = node("Add", scaled(x, k), scaled(y, 1 / k))
    twice_v = node("Sub", scaled(x, 2 * k), scaled(y, 2 / k))
    return node("Sub", _square(u, 1 / 4), _square(twice_v, 1 / 16))


def _square(u: Value, factor: float) -> Value:
    return node("Mul", node("Mul", u, u), constant(factor, np.float32))


def _chosen(x: Value, y: Value, x_reach: float, y_reach: float) -> Value:
    p, x, reach = (x, y, y_reach) if is_truth(x) else (y, x, x_reach)
    one, half, zero = (constant(c, np.float32) for c in (1, 0.5, 0))
    u = node("Add", node("Mul", x, constant(0.5 / reach, np.float32)), p)
    back = node("Mul", node("Sub", u, one), constant(2 * reach, np.float32))
    return node("Where", node("Greater", u, half), back, zero)
