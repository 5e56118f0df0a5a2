"""Canonicalization rules of the float level: attention that leaves out what a constant masks."""

from __future__ import annotations

import numpy as np

from lutra.ir.core import Value
from lutra.ir.ops import Onnx, constant_of
from lutra.ir.rewriter import Rewriter
from lutra.ir.types import Array
from lutra.passes.client import is_encrypted
from lutra.passes.flow import is_onnx
from lutra.passes.rules import Outcome, no, on
from lutra.passes.rules_linear import constant, node

MASKED = -1e4
"""Scores to which this or less is added count for nothing: exp(-10,000) is 0 in float32."""


@on("Softmax")
def masked_softmax_to_steps(op: Onnx, rw: Rewriter) -> Outcome:
    """Softmax(x + m) -> e / sum(e), e = p exp(z), z = p x - max(p x), p = 0 where m is -inf, else 1

    So no value is infinite, and none is as far from the others as masks of large numbers. What is
    added besides stays. A row that is masked as a whole becomes 0.
    """
    if not is_encrypted(op):
        return no("the client computes it")
    found = _masked(op.operands[0])
    if found is None:
        return no("nothing is masked by a constant")
    x, mask = found
    axis = op.attrs.get("axis", -1) % len(x.shape)
    whole = np.broadcast_to(mask, x.shape)
    lost = (whole <= MASKED).all(axis, keepdims=True)
    if not np.isneginf(whole[np.broadcast_to(lost, x.shape)]).all():
        return no("all of a row is masked by numbers that are not infinite")
    kept = constant(mask > MASKED, np.float32)
    bias = np.where(mask > MASKED, mask, 0)
    axes = constant([axis], np.int64)
    x = node("Add", x, constant(bias, np.float32)) if bias.any() else x
    x = node("Mul", x, kept)
    z = node("Sub", x, node("ReduceMax", x, axes, keepdims=1))
    exp = node("Mul", node("Exp", z), kept)
    total = node("ReduceSum", exp, axes, keepdims=1)
    if lost.any():
        total = node("Add", total, constant(lost, np.float32))
    rw.replace(op, node("Div", exp, total))
    return None


@on("Where")
def decided_choice(op: Onnx, rw: Rewriter) -> Outcome:
    """Where(p, x, y) -> x or y, where p is constant and the same everywhere"""
    chosen = constant_of(op.operands[0])
    if chosen is None or chosen.any() != chosen.all():
        return no("it chooses differently from element to element")
    taken = op.operands[1 if chosen.all() else 2]
    if taken.type != op.result.type:
        return no("what it takes has another shape")
    rw.replace(op, taken)
    return None


MASK_RULES = (masked_softmax_to_steps, decided_choice)


def _masked(value: Value) -> tuple[Value, Array] | None:
    """Scores, and a constant with numbers up to `MASKED` that is added to them."""
    op = value.owner
    if is_onnx(op, "Add"):
        pairs = [(x, constant_of(c)) for x, c in (op.operands, op.operands[::-1])]
    elif is_onnx(op, "Where") and (chosen := constant_of(op.operands[0])) is not None:
        pairs = [
            (x, None if c is None else np.where(other, c, 0))
            for x, c, other in (
                (op.operands[1], constant_of(op.operands[2]), ~chosen),
                (op.operands[2], constant_of(op.operands[1]), chosen),
            )
        ]
    else:
        return None
    for x, mask in pairs:
        if mask is not None and x.shape == value.shape and (mask <= MASKED).any():
            return x, np.asarray(mask, np.float32)
    return None
