"""Canonicalization rules of the float level: functions of several encrypted values.

What they need is brought to sums, maxima and products of two values and functions of one. They
leave alone what the client computes anyway, before the first layer or behind the last.
"""

from __future__ import annotations

import numpy as np

from lutra.ir.core import Value
from lutra.ir.ops import Constant, Onnx, constant_of
from lutra.ir.rewriter import Rewriter
from lutra.ir.traits import Trait, trait
from lutra.ir.types import Shape, Tensor
from lutra.passes.client import at_client, leads_to_layer
from lutra.passes.flow import encrypted_operands, is_onnx
from lutra.passes.rules import Outcome, no, on
from lutra.passes.rules_linear import constant, is_linear_sum, node, reshaped

COMPARISONS = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
FLOATS = 1
"""ONNX's number of the type float32."""


@on("Max", "Min")
def extremes_of_two(op: Onnx, rw: Rewriter) -> Outcome:
    """Max(x, c, y) -> Max(Max(x, y), c), and Min alike: encrypted values first, two at a time"""
    if len(op.operands) < 3:
        return no("it has no more than two operands")
    if any(value.type != op.result.type for value in encrypted_operands(op)):
        return no("a broadcast is not explicit yet")
    first, *rest = sorted(op.operands, key=lambda value: value.constant)
    for value in rest:
        first = node(op.op_type, first, value)
    rw.replace(op, first)
    return None


@on(*COMPARISONS)
def comparison_of_difference(op: Onnx, rw: Rewriter) -> Outcome:
    """Greater(x, y) -> Greater(x - y, 0), and the other comparisons alike: one look-up"""
    if not _meet(op):
        return no("no encrypted values meet here")
    x, y = op.operands
    if x.type != Tensor(op.result.shape):
        return no("it compares no floats")
    rw.replace(op, node(op.op_type, node("Sub", x, y), constant(0, np.float32)))
    return None


@on("And", "Or", "Xor")
def logic_of_sum(op: Onnx, rw: Rewriter) -> Outcome:
    """And(p, q) -> p + q > 1.5, Or(p, q) -> p + q > 0.5, Xor(p, q) -> p - q != 0: one look-up"""
    if not _meet(op):
        return no("no encrypted values meet here")
    p, q = (_as_floats(value) for value in op.operands)
    if op.op_type == "Xor":
        equal = node("Equal", node("Sub", p, q), constant(0, np.float32))
        rw.replace(op, node("Not", equal))
    else:
        least = constant(1.5 if op.op_type == "And" else 0.5, np.float32)
        rw.replace(op, node("Greater", node("Add", p, q), least))
    return None


@on("Where")
def choice_by_product(op: Onnx, rw: Rewriter) -> Outcome:
    """Where(x > y, x, y) -> Max(x, y); Where(p, x, y) -> y + p * (x - y), p * x + !p * y of sums

    A sum of products that is left as it is would have to be read with all its bits.
    """
    if not _meet(op):
        return no("no encrypted values meet here")
    p, *branches = op.operands
    x, y = (_whole(value, op.result.shape) for value in branches)
    if x.type != y.type or x.type != Tensor(op.result.shape):
        return no("it chooses among no floats of one shape")
    kind = _extreme(p, x, y)
    if kind:
        rw.replace(op, node(kind, x, y))
        return None
    chosen = _as_floats(p)
    zero = constant_of(y)
    if zero is not None and not zero.any():
        rw.replace(op, node("Mul", chosen, x))
        return None
    if not is_linear_sum(y):
        chosen = node("Add", y, node("Mul", chosen, node("Sub", x, y)))
    else:
        other = node("Mul", _as_floats(node("Not", p)), y)
        chosen = node("Add", node("Mul", chosen, x), other)
    rw.replace(op, chosen)
    return None


def _extreme(p: Value, x: Value, y: Value) -> str:
    """Max or Min where p compares x and y so that choosing by it makes one of these; else empty."""
    op = p.owner
    if not is_onnx(op, "Greater", "GreaterOrEqual", "Less", "LessOrEqual"):
        return ""
    assert isinstance(op, Onnx)
    greater = op.op_type.startswith("Greater")
    a, b = op.operands
    difference = a.owner
    if is_onnx(difference, "Sub") and (zero := constant_of(b)) is not None and not zero.any():
        a, b = difference.operands
    if (a, b) not in ((x, y), (y, x)):
        return ""
    return "Max" if greater == (a is x) else "Min"


@on("Div")
def quotient_by_product(op: Onnx, rw: Rewriter) -> Outcome:
    """x / y -> x * (1 / y)"""
    if not _meet(op):
        return no("no encrypted values meet here")
    x, y = op.operands
    if x.constant or x.type != op.result.type:
        return no("it divides no encrypted float")
    rw.replace(op, node("Mul", x, node("Reciprocal", y)))
    return None


@on("ReduceMax", "ReduceMin")
def reduction_to_pool(op: Onnx, rw: Rewriter) -> Outcome:
    """ReduceMax(x) -> GlobalMaxPool(x as [1, kept, reduced]), ReduceMin(x) -> -ReduceMax(-x)"""
    x, axes = op.input(0), constant_of(op.input(1))
    if x is None or x.constant or x.type != Tensor(x.shape):
        return no("no encrypted floats are reduced")
    if op.input(1) is not None and axes is None:
        return no("its axes are not constant")
    rank = len(x.shape)
    named = () if axes is None else tuple(int(axis) % rank for axis in axes.reshape(-1))
    if not named and op.attrs.get("noop_with_empty_axes", 0):
        rw.replace(op, x)
        return None
    named = named or tuple(range(rank))
    kept = [axis for axis in range(rank) if axis not in named]
    sign = None if op.op_type == "ReduceMax" else constant(-1, np.float32)
    value = x if sign is None else node("Mul", x, sign)
    if [*kept, *sorted(named)] != list(range(rank)):
        value = node("Transpose", value, perm=[*kept, *sorted(named)])
    channels = int(np.prod([x.shape[axis] for axis in kept], dtype=np.int64))
    value = node("GlobalMaxPool", reshaped(value, (1, channels, -1)))
    value = reshaped(value, op.result.shape)
    rw.replace(op, value if sign is None else node("Mul", value, sign))
    return None


def _whole(value: Value, shape: Shape) -> Value:
    """A constant with as many elements as it is broadcast to; other values as they are."""
    array = constant_of(value)
    if array is None or array.shape == shape:
        return value
    return Constant(np.broadcast_to(array, shape)).result


def _as_floats(p: Value) -> Value:
    """A truth value as 0 or 1."""
    return node("Cast", p, to=FLOATS)


def _meet(op: Onnx) -> bool:
    """Whether values meet in a node under encryption that are not all functions of one."""
    operands = encrypted_operands(op)
    if len(operands) < 2 or any(value.shape != op.result.shape for value in operands):
        return False
    known: dict[Value, Value] = {}
    if len({_function_of(value, known) for value in operands}) < 2:
        return False
    return not all(map(at_client, operands)) and leads_to_layer(op)


def chosen_among_values(op: Onnx) -> bool:
    """Whether a maximum or minimum is one of two values that are not all functions of one."""
    return len(op.operands) == 2 and _meet(op)


def _function_of(value: Value, known: dict[Value, Value]) -> Value:
    """The value of whose single elements a value is a function: itself, if of no other."""
    if value not in known:
        op = value.owner
        found = value
        if isinstance(op, Onnx) and trait(op) is Trait.ELEMENTWISE:
            bases = {_function_of(operand, known) for operand in encrypted_operands(op)}
            if len(bases) == 1:
                (found,) = bases
        known[value] = found
    return known[value]


JOIN_RULES = (
    extremes_of_two,
    choice_by_product,
    comparison_of_difference,
    logic_of_sum,
    quotient_by_product,
    reduction_to_pool,
)
