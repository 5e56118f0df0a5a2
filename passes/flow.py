"""How encrypted values flow through the float part of a graph.

Decides for every float value from which integers it will be computed: this is what calibration,
quantization, fusion and the check for support share.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lutra.ir.core import Graph, Input, Op, Secrecy, Value
from lutra.ir.ops import Dequantize, Observe, Onnx, Quantize, constant_of
from lutra.ir.traits import WEIGHTED, Trait, trait
from lutra.ir.types import Array, Tensor

AFFINE = frozenset({"Add", "Sub", "Mul", "Div"})


def is_constant(value: Value) -> bool:
    """Whether a value is known at compile time: constants, and what depends on them alone."""
    return value.constant


def encrypted_operands(op: Op) -> list[Value]:
    """Operands that are not known at compile time: encrypted ones, and clear ones."""
    return [value for value in op.operands if not value.constant]


def _is(op: Op, *kinds: Trait) -> bool:
    return isinstance(op, Onnx) and trait(op) in kinds


def is_onnx(op: Op, *op_types: str) -> bool:
    """Whether `op` is a node of the default domain and one of these types (any, if none given)."""
    return isinstance(op, Onnx) and not op.domain and (not op_types or op.op_type in op_types)


def is_truth(value: Value) -> bool:
    """Whether a value is 0 or 1, made of truth values."""
    op = value.owner
    return is_onnx(op, "Cast") and op.operands[0].type == Tensor(value.shape, "bool")


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
    client: values that the client computes by itself before encryption, free of charge. All clear
        ones are, whatever computes them.
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
        elementwise = isinstance(op, Observe) or (_is(op, Trait.ELEMENTWISE) and len(merged) <= 1)
        for value in op.results:
            alone = not elementwise and not is_constant(value)
            self.sources[value] = frozenset({value}) if alone else merged
        computable = isinstance(op, Onnx | Observe) and not self.is_linear(op)
        clear = op.secrecy() is Secrecy.CLEAR
        if isinstance(op, Input) or clear or (computable and self.client.issuperset(operands)):
            self.client.update(op.results)

    def _demanded(self) -> set[Op]:
        demanded: set[Op] = set()
        for op in reversed(list(self.graph.ops)):
            weighted = is_onnx(op, *WEIGHTED) or isinstance(op, Quantize)
            if weighted or any(user in demanded for value in op.results for user in value.users):
                demanded.add(op)
        return demanded

    def is_linear(self, op: Op) -> bool:
        """Whether it becomes integer arithmetic: pooling, convolution, x + y, x * y, ..."""
        if op.secrecy() is Secrecy.CLEAR:
            return False
        sums = is_onnx(op, "Add", "Sub") and self.meets(op)
        return sums or _is(op, Trait.LINEAR) or self.is_product(op)

    def is_product(self, op: Op) -> bool:
        """Whether it multiplies two values that are known at run time only."""
        if is_onnx(op, "MatMul"):
            return len(encrypted_operands(op)) == 2
        return is_onnx(op, "Mul") and self.meets(op) and not self.client.issuperset(op.operands)

    def is_squared(self, op: Op) -> bool:
        """Whether it multiplies two encrypted values, which squares few bits in look-ups."""
        return self.is_product(op) and not any(value.clear for value in op.operands)

    def is_accumulator(self, value: Value) -> bool:
        """Whether a value is a sum with products of weights, perhaps moved, or constants joined."""
        op = self._without_affine(value).owner
        operands = encrypted_operands(op)
        if is_onnx(op, "Add", "Sub"):
            return any(map(self.is_accumulator, operands))
        if _is(op, Trait.STRUCTURAL) and self.moves_integers(op):
            return all(map(self.is_accumulator, operands))
        return is_onnx(op, *WEIGHTED)

    def picks(self, op: Op) -> bool:
        """Whether elements are picked by size: pooling, and the maximum of encrypted values."""
        return _is(op, Trait.ORDER) or (is_onnx(op, "Max", "Min") and self.meets(op))

    def meets(self, op: Op) -> bool:
        """Whether two encrypted values meet in an operation, which is no function of one."""
        floats = len(op.operands) == 2 and all(v.type == op.result.type for v in op.operands)
        return floats and not is_constant(op.result) and self._joins(op.result)

    def _joins(self, value: Value) -> bool:
        """Whether a value is no function of the elements of one other value."""
        return self.sources.get(value, {value}) == {value}

    def is_movement(self, op: Op) -> bool:
        """Whether quantized values go through unchanged: structural and order operations."""
        return _is(op, Trait.STRUCTURAL) or self.picks(op)

    def roots(self, value: Value, narrow: bool = False) -> Iterator[Value]:
        """The values to quantize so that `value` becomes an integer without a further look-up.

        Goes up through operations that move elements. Results of linear operations, also with
        constants added or multiplied, are integers already, of as many bits as their accumulators
        have; maxima need narrower ones, and with `narrow` such results are roots as well.
        """
        op = value.owner
        if is_constant(value) or isinstance(op, Dequantize | Observe):
            return
        if self.moves_integers(op):
            for operand in encrypted_operands(op):
                yield from self.roots(operand, narrow or self.picks(op))
        elif narrow or value in self.client:
            yield value
        elif not self._is_integer(value):
            base = self._without_affine(value)
            yield from self.roots(base) if self.moves_integers(base.owner) else (value,)

    def _without_affine(self, value: Value) -> Value:
        """What constants were added to or multiplied with to make a value."""
        while (affine := affine_constant(value.owner)) is not None:
            value = affine[0]
        return value

    def moves_integers(self, op: Op) -> bool:
        """Whether an operation moves elements of integers, not of floats at the client."""
        if not self.is_movement(op):
            return False
        at_client = self.client.issuperset(op.results)
        reads_floats = all(v.type == Tensor(v.shape) for v in encrypted_operands(op))
        return not at_client or (_is(op, Trait.STRUCTURAL) and reads_floats)

    def _is_integer(self, value: Value) -> bool:
        """Whether a value is a linear operation's, perhaps with constants added or multiplied."""
        if self.is_linear(value.owner):
            return True
        affine = affine_constant(value.owner)
        return affine is not None and not any(True for _ in self.roots(affine[0]))

    def groups(self) -> list[list[Value]]:
        """Values to quantize, grouped where they must share one scale: in a Concat or maximum."""
        parent: dict[Value, Value] = {}

        def find(value: Value) -> Value:
            while parent.setdefault(value, value) is not value:
                value = parent[value]
            return value

        for op in self.graph.ops:
            for value in self._integers_of(op):
                roots = list(self.roots(value, self.is_squared(op)))
                for root in roots:
                    parent[find(root)] = find(roots[0])
        groups: dict[Value, list[Value]] = {}
        for value in parent:
            groups.setdefault(find(value), []).append(value)
        return list(groups.values())

    def _integers_of(self, op: Op) -> Sequence[Value]:
        """Values that must be integers because `op` is computed on such."""
        if op not in self.demanded:
            return ()
        if self.is_linear(op):
            return encrypted_operands(op)
        moves = self.is_movement(op) and not self.client.issuperset(op.results)
        return op.results[:1] if moves else ()

    def unsupported(self) -> Iterator[tuple[Onnx, str]]:
        """Operations that are needed under encryption and cannot be there, with the reason."""
        for op in self.graph.ops:
            under_encryption = op in self.demanded and not self.client.issuperset(op.results)
            reason = self._obstacle(op) if isinstance(op, Onnx) and under_encryption else ""
            if isinstance(op, Onnx) and reason:
                yield op, reason

    def _obstacle(self, op: Onnx) -> str:
        kind, operands = trait(op), encrypted_operands(op)
        others = [str(v.type) for v in operands if v.type != Tensor(v.shape)]
        if is_onnx(op, "QuantizeLinear", "DequantizeLinear"):
            return "it needs `import-quantized` before, and a constant scale"
        if is_onnx(op, "TopK") and op.results[1].users:
            return "its second result, the places of the values, would be encrypted"
        if kind in (Trait.OPAQUE, Trait.COMPOSED):
            return "this operator cannot run on encrypted values"
        if kind is Trait.ELEMENTWISE:
            several = self._joins(op.results[0]) and not (self.is_linear(op) or self.picks(op))
            return "it combines several encrypted values" if several else ""
        if others:
            return f"it reads {', '.join(others)}, not float32"
        if kind is Trait.ORDER and len(op.results) > 1:
            return "its second result, the places of the maxima, would be encrypted"
        if self.is_product(op):
            return ""
        if op.op_type in WEIGHTED and len(operands) > 1:
            clear = any(value.clear for value in operands)
            return "its weights are not constant" if clear else "both operands are encrypted"
        if op.op_type != "Concat" and operands != [op.inputs[0]]:
            return "its parameters are not constant"
        return ""
