"""How encrypted values flow through the float part of a graph.

Decides for every float value from which integers it will be computed: this is what calibration,
quantization, fusion and the check for support share.
"""

from __future__ import annotations

from collections.abc import Iterator

from lutra.ir.core import Graph, Input, Op, Value
from lutra.ir.ops import Constant, Dequantize, IntConstant, Observe, Onnx, Quantize, constant_of
from lutra.ir.traits import WEIGHTED, Trait, trait
from lutra.ir.types import Array, Tensor

AFFINE = frozenset({"Add", "Sub", "Mul", "Div"})


def is_clear(value: Value) -> bool:
    """Whether a value is known at compile time: constants, and what depends on them alone."""
    op = value.owner
    if isinstance(op, Constant | IntConstant):
        return True
    return isinstance(op, Dequantize | Onnx) and bool(op.operands) and all(map(is_clear, op.operands))


def encrypted_operands(op: Op) -> list[Value]:
    """Operands that are not known at compile time."""
    return [value for value in op.operands if not is_clear(value)]


def is_onnx(op: Op, *op_types: str) -> bool:
    """Whether `op` is a node of the default domain and one of these types (any, if none given)."""
    return isinstance(op, Onnx) and not op.domain and (not op_types or op.op_type in op_types)


def affine_constant(op: Op) -> tuple[Value, Array] | None:
    """(x, c) where `op` is x + c, x - c, c + x, x * c, c * x or x / c and keeps x's shape."""
    if not is_onnx(op, *AFFINE):
        return None
    first, second = op.operands
    if constant_of(second) is None and op.op_type in ("Add", "Mul"):  # type: ignore[attr-defined]
        first, second = second, first
    constant = constant_of(second)
    if constant is None or constant_of(first) is not None or op.result.shape != first.shape:
        return None
    return first, constant


class Flow:
    """Facts about a graph's float values, computed once; do not keep it across changes.

    Expects a canonicalized graph, in which elementwise operations do not broadcast their
    encrypted operands.

    sources: for each value the non-elementwise values of which it is an elementwise function.
    client: values that the client can compute by itself before encryption.
    demanded: the operations from which a weighted operation (Conv, MatMul) can be reached; all
    others are left to the client.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.sources: dict[Value, frozenset[Value]] = {}
        self.client: set[Value] = set()
        for op in graph.ops:
            self._visit(op)
        self.demanded = self._demanded()

    def _visit(self, op: Op) -> None:
        operands = encrypted_operands(op)
        merged = frozenset[Value]().union(*(self.sources[value] for value in operands))
        elementwise = isinstance(op, Observe) or (
            isinstance(op, Onnx) and trait(op) is Trait.ELEMENTWISE and len(merged) <= 1
        )
        from_client = all(value in self.client for value in operands)
        for value in op.results:
            if elementwise or is_clear(value):
                self.sources[value] = merged
            else:
                self.sources[value] = frozenset({value})
            if isinstance(op, Input) or is_clear(value) or (elementwise and from_client):
                self.client.add(value)

    def _demanded(self) -> set[Op]:
        demanded: set[Op] = set()
        for op in reversed(list(self.graph.ops)):
            weighted = is_onnx(op, *WEIGHTED) or isinstance(op, Quantize)
            if weighted or any(user in demanded for value in op.results for user in value.users):
                demanded.add(op)
        return demanded

    def is_linear(self, op: Op) -> bool:
        """Whether the operation becomes integer arithmetic: pooling, convolution, x + y, ..."""
        if not isinstance(op, Onnx):
            return False
        if trait(op) is Trait.LINEAR:
            return True
        joins = op.result not in self.sources or self.sources[op.result] == {op.result}
        return op.op_type in ("Add", "Sub") and not op.domain and joins

    def is_movement(self, op: Op) -> bool:
        """Whether quantized values go through unchanged: structural and order operations."""
        return isinstance(op, Onnx) and trait(op) in (Trait.STRUCTURAL, Trait.ORDER)

    def roots(self, value: Value) -> Iterator[Value]:
        """The values to quantize so that `value` becomes an integer without a further look-up.

        Goes up through operations that move elements. Results of linear operations, also with
        constants added or multiplied, are integers already.
        """
        op = value.owner
        if isinstance(op, Constant | Dequantize | Observe) or self.is_linear(op):
            return
        if self.is_movement(op):
            for operand in encrypted_operands(op):
                yield from self.roots(operand)
            return
        affine = affine_constant(op)
        if affine is not None and not any(True for _ in self.roots(affine[0])):
            return
        yield value

    def groups(self) -> list[list[Value]]:
        """Values to quantize, grouped where they must share one scale (they meet in a Concat)."""
        parent: dict[Value, Value] = {}

        def find(value: Value) -> Value:
            while parent.setdefault(value, value) is not value:
                value = parent[value]
            return value

        for op in self.graph.ops:
            if op not in self.demanded or not self.is_linear(op):
                continue
            for operand in encrypted_operands(op):
                roots = list(self.roots(operand))
                for root in roots:
                    parent[find(root)] = find(roots[0])
        groups: dict[Value, list[Value]] = {}
        for value in parent:
            groups.setdefault(find(value), []).append(value)
        return list(groups.values())

    def unsupported(self) -> Iterator[tuple[Onnx, str]]:
        """Operations that are needed under encryption and cannot be there, with the reason."""
        for op in self.graph.ops:
            if op not in self.demanded or not isinstance(op, Onnx):
                continue
            if all(value in self.client for value in op.results):
                continue
            reason = self._obstacle(op)
            if reason:
                yield op, reason

    def _obstacle(self, op: Onnx) -> str:
        if any(not isinstance(v.type, Tensor) or v.type.dtype != "float32" for v in encrypted_operands(op)):
            if trait(op) is not Trait.ELEMENTWISE:
                return f"it reads {', '.join(str(v.type) for v in encrypted_operands(op))}, not float32"
        if trait(op) is Trait.OPAQUE:
            return "this operator cannot run on encrypted values"
        operands = encrypted_operands(op)
        if op.op_type in WEIGHTED and len(operands) != 1:
            return "both operands are encrypted"
        if trait(op) is Trait.STRUCTURAL and op.op_type != "Concat" and len(operands) != 1:
            return "its parameters are not constant"
        if trait(op) is Trait.ELEMENTWISE and not self.is_linear(op) and self.sources[op.results[0]] == {op.results[0]}:
            return "it combines several encrypted values"
        return ""
