"""Table look-ups and what is built of them."""

from __future__ import annotations

import numpy as np

from lutra.backends.onnx.builder import Builder, Emission
from lutra.backends.onnx.linear import elementwise
from lutra.ir import ops
from lutra.ir.core import Op


def lookup(b: Builder, op: ops.Lookup) -> str:
    """A gather from the tables and their negatives, one behind the other: both halves of a turn."""
    period = 2 * op.entries
    tables = np.concatenate([op.table, -op.table], axis=-1).reshape(-1)
    index = b.node("Sub", b.read(op.x), b.scalar(op.base))
    index = b.node("BitwiseAnd", index, b.scalar(period - 1))
    if op.which.size > 1:
        index = b.node("Add", index, b.constant(op.which * period))
    return b.node("Gather", b.constant(tables), index, axis=0)


def round_(b: Builder, op: ops.Round) -> str:
    """x + half without its lowest bits is a multiple of 2^lsbs, which Div divides exactly."""
    moved = b.node("Add", b.read(op.x), b.scalar(1 << (op.lsbs - 1)))
    low = b.node("BitwiseAnd", moved, b.scalar((1 << op.lsbs) - 1))
    return b.node("Div", b.node("Sub", moved, low), b.scalar(1 << op.lsbs))


TABLES: dict[type[Op], Emission] = {
    ops.Lookup: lookup,
    ops.Max: elementwise("Max"),
    ops.Mul: elementwise("Mul"),
    ops.Round: round_,
}
