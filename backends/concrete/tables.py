"""Emission of the operations that bootstrap."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lutra.backends.concrete.emitter import Emission, Emitter
from lutra.backends.concrete.mlir import Ref
from lutra.backends.concrete.widths import operand_of
from lutra.ir import ops
from lutra.ir.core import Op
from lutra.ir.types import Int, Ints


def lookup(e: Emitter, op: ops.Lookup) -> Ref:
    x, lsbs, exact = operand_of(op)
    return e.lookup(e.ref(x), op.base, op.table, e.bits[op.result], lsbs, exact)


def round_(e: Emitter, op: ops.Round) -> None:
    """Nothing: the look-ups that read it do the rounding, each behind its own offset."""


def max_(e: Emitter, op: ops.Max) -> Ref:
    """(x + y + |x - y|) / 2: twice the maximum in w + 1 bits is the maximum in w bits."""
    bits = e.bits[op.result] + 1
    x, y = (e.writer.keep_low(e.ref(value), bits) for value in op.operands)
    entries = 1 << op.index_bits
    table = np.arange(entries) - entries // 2
    distance = e.lookup(e.writer.sub(x, y), 0, table, bits)
    twice = e.writer.add(e.writer.add(x, y), e.writer.add_clear(distance, np.array([entries // 2])))
    return e.writer.reinterpret(twice, bits - 1)


def mul(e: Emitter, op: ops.Mul) -> Ref:
    """floor((x+y)^2 / 4) - floor((x-y)^2 / 4), or x^2; by clear integers without look-up."""
    parted = e.parted(op)
    if parted:
        return e.writer.mul_clear(*parted)
    total, *difference = op.squared()
    x, y = e.ref(op.x), e.ref(op.y)
    bits = min(x.bits, y.bits)
    x, y = e.writer.keep_low(x, bits), e.writer.keep_low(y, bits)
    if not difference:
        return _apply(e, x, total, np.square, op)
    plus = _apply(e, e.writer.add(x, y), total, _quarter_square, op)
    minus = _apply(e, e.writer.sub(x, y), difference[0], _quarter_square, op)
    return e.writer.sub(plus, minus)


def _quarter_square(x: Ints) -> Ints:
    return x * x >> 2


def _apply(e: Emitter, x: Ref, type: Int, function: Callable[[Ints], Ints], op: Op) -> Ref:
    """A function of integers that lie in a type's range."""
    entries = 1 << type.span_bits
    domain = np.minimum(type.min + np.arange(entries, dtype=np.int64), type.max)
    return e.lookup(x, type.min, function(domain), e.bits[op.result])


TABLES: dict[type[Op], Emission] = {
    ops.Lookup: lookup,
    ops.Max: max_,
    ops.Mul: mul,
    ops.Round: round_,
}
