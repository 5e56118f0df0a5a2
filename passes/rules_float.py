"""Canonicalization rules of the float level: elementwise operators among others."""

from __future__ import annotations

import numpy as np

from lutra.ir.core import Value
from lutra.ir.ops import Onnx, constant_of, scalar_of
from lutra.ir.rewriter import Rewriter
from lutra.ir.traits import NONDECREASING, Trait, trait
from lutra.ir.types import Tensor
from lutra.passes.flow import AFFINE, affine_constant, encrypted_operands, is_constant, is_onnx
from lutra.passes.rules import Outcome, no, on
from lutra.passes.rules_axes import AXIS_RULES
from lutra.passes.rules_chains import movement_before_elementwise
from lutra.passes.rules_choices import CHOICE_RULES
from lutra.passes.rules_composed import COMPOSED_RULES
from lutra.passes.rules_contractions import CONTRACTION_RULES
from lutra.passes.rules_expansions import function_before_expansion
from lutra.passes.rules_joins import JOIN_RULES, chosen_among_values
from lutra.passes.rules_layers import LAYER_RULES
from lutra.passes.rules_linear import LINEAR_RULES, constant, node
from lutra.passes.rules_masks import MASK_RULES

MONOTONE = NONDECREASING | {"Celu", "Clip", "LeakyRelu", "ThresholdedRelu"}
"""Nondecreasing in their first operand, unless alpha or gamma is negative."""


@on("Identity")
def drop_identity(op: Onnx, rw: Rewriter) -> Outcome:
    """Identity(x) -> x"""
    rw.replace(op, op.operands[0])
    return None


@on("Neg", "Sub")
def negation_to_factor(op: Onnx, rw: Rewriter) -> Outcome:
    """-x -> x * -1 and c - x -> x * -1 + c, which linear operators take in"""
    x = op.operands[-1]
    if is_constant(x) or x.type != Tensor(op.results[0].shape):
        return no("not the negation of a float value")
    if op.op_type == "Neg":
        rw.replace(op, node("Mul", x, constant(-1, np.float32)))
    elif not is_constant(op.operands[0]):
        return no("it subtracts two encrypted values")
    else:
        rw.replace(op, node("Add", node("Mul", x, constant(-1, np.float32)), op.operands[0]))
    return None


@on("Sum", "Mean")
def sum_to_add(op: Onnx, rw: Rewriter) -> Outcome:
    """Sum(x, y, ...) -> x + y + ..., and Mean(x, y, ...) alike"""
    total, *rest = op.inputs
    assert total is not None
    for value in rest:
        total = node("Add", total, value)
    if op.op_type == "Mean":
        total = node("Mul", total, constant(1 / len(op.inputs), np.float32))
    rw.replace(op, total)
    return None


def explicit_broadcast(op: Onnx, rw: Rewriter) -> Outcome:
    """f(x, c) -> f(Expand(x), c), where c is larger than x"""
    if trait(op) is not Trait.ELEMENTWISE:
        return no("not an elementwise operator")
    shape = op.results[0].shape
    small = [value for value in encrypted_operands(op) if value.shape != shape]
    if not small:
        return no("nothing is broadcast")
    for value in dict.fromkeys(small):
        expand = Onnx.make("Expand", (value, constant(shape, np.int64)))
        rw.replace_uses(value, rw.insert(expand, before=op, loc=op.loc).result, only=[op])
    return None


@on(*MONOTONE, *AFFINE)
def monotone_before_max_pool(op: Onnx, rw: Rewriter) -> Outcome:
    """f(MaxPool(x)) -> MaxPool(f(x)), for nondecreasing f: the maximum is taken of few bits"""
    pooled = _nondecreasing_in(op)
    pool = None if pooled is None else pooled.owner
    if not isinstance(pool, Onnx) or not is_onnx(pool, "MaxPool", "GlobalMaxPool"):
        return no("not a nondecreasing function of a max-pooling")
    if not _is_uniform(op, len(pool.result.shape)):
        return no("the function differs within a channel")
    if len(pool.results) > 1 or not pool.result.used_once:
        return no("the pooling's result has another user")
    inputs = [pool.inputs[0] if value is pooled else value for value in op.inputs]
    rw.replace(op, node(pool.op_type, node(op.op_type, *inputs, **op.attrs), **pool.attrs))
    return None


@on(*MONOTONE, *AFFINE)
def monotone_before_extreme(op: Onnx, rw: Rewriter) -> Outcome:
    """f(Max(x, y)) -> Max(f(x), f(y)), and Min alike, for nondecreasing f

    What f and x make is one look-up, and the maximum is taken of few bits.
    """
    chosen = _nondecreasing_in(op)
    extreme = None if chosen is None else chosen.owner
    if not isinstance(extreme, Onnx) or not is_onnx(extreme, "Max", "Min"):
        return no("not a nondecreasing function of a maximum or minimum")
    if not chosen_among_values(extreme) or not extreme.result.used_once:
        return no("no encrypted values meet in it, or its result has another user")
    made = [
        node(op.op_type, *(x if value is chosen else value for value in op.inputs), **op.attrs)
        for x in extreme.operands
    ]
    rw.replace(op, node(extreme.op_type, *made))
    return None


def _nondecreasing_in(op: Onnx) -> Value | None:
    """The operand of which `op` is a nondecreasing function at every position."""
    affine = affine_constant(op)
    if affine is not None:
        x, c = affine
        rising = op.op_type in ("Add", "Sub") or (c > 0).all()
        return x if rising else None
    rising = min(op.attrs.get("alpha", 0), op.attrs.get("gamma", 0)) >= 0
    if op.op_type not in MONOTONE or not rising:
        return None
    first, *others = op.operands
    return first if all(scalar_of(value) is not None for value in others) else None


def _is_uniform(op: Onnx, rank: int) -> bool:
    """Whether constants of an operation vary along no axis but samples and channels."""
    shapes = [value.shape for value in op.operands if value.constant]
    return all(size == 1 for shape in shapes for size in shape[max(0, len(shape) - rank + 2) :])


def function_before_concat(op: Onnx, rw: Rewriter) -> Outcome:
    """f(Concat(x, ...), c) -> Concat(f(x, c), ...): what f and x make is one function each"""
    operands = encrypted_operands(op)
    concat = operands[0].owner if len(operands) == 1 else None
    if trait(op) is not Trait.ELEMENTWISE or not isinstance(concat, Onnx):
        return no("not a function of one value's single elements")
    (joined,) = operands
    if not is_onnx(concat, "Concat") or not joined.used_once or joined.shape != op.result.shape:
        return no("it does not read a concatenation that is read only here")
    clear = [value for value in op.operands if value is not joined]
    if any(constant_of(value) is None for value in clear):
        return no("a constant is not folded yet")
    axis = concat.attrs["axis"] % len(joined.shape) - len(joined.shape)
    parts: list[Value] = []
    start = 0
    for part in concat.operands:
        span = range(start, start + part.shape[axis])
        inputs = (part if v is joined else _along(v, axis, span) for v in op.inputs)
        parts.append(node(op.op_type, *inputs, **op.attrs))
        start = span.stop
    rw.replace(op, node("Concat", *parts, **concat.attrs))
    return None


def _along(value: Value | None, axis: int, span: range) -> Value | None:
    """The part of a constant that lies within `span` on an axis, counted from the last one."""
    array = constant_of(value)
    if array is None or array.ndim < -axis or array.shape[axis] == 1:
        return value
    return constant(array.take(span, axis))


FLOAT_RULES = (
    *LINEAR_RULES,
    *LAYER_RULES,
    *CONTRACTION_RULES,
    *MASK_RULES,
    *COMPOSED_RULES,
    *CHOICE_RULES,
    *AXIS_RULES,
    drop_identity,
    negation_to_factor,
    sum_to_add,
    explicit_broadcast,
    monotone_before_max_pool,
    monotone_before_extreme,
    movement_before_elementwise,
    function_before_expansion,
    function_before_concat,
    *JOIN_RULES,
)
