"""Bootstraps on some elements only: those whose results are not known without."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np

from lutra.ir.core import Value
from lutra.ir.ops import AddClear, Assume, Concat, Lookup, Max, Mul, MulClear, Pad, Round
from lutra.ir.rewriter import Rewriter
from lutra.ir.types import Array, Ints, compress
from lutra.passes.lower_movement import movement_of

Bootstrap: TypeAlias = Lookup | Max | Mul


def drop_parts(op: Bootstrap, needed: Array, rewriter: Rewriter) -> bool:
    """f(x) -> pad(f(x[kept])), put back, shifted by what is constant; max(x, y) -> x where x >= y

    Dropped are parts along an axis in which all is constant or not needed, and those in which one
    operand of a maximum is never less than the other.

    needed: a mask of the result's shape, as of `needed_elements`.
    """
    type = op.result.int_type
    dropped = ~needed | (type.lo == type.hi)
    for axis, size in enumerate(type.shape):
        others = tuple(i for i in range(dropped.ndim) if i != axis)
        dead = dropped.all(others)
        parts, places = [], []
        taken = dead.copy()
        for value, mask in _copied(op):
            copied = np.flatnonzero(mask.all(others) & ~taken)
            taken[copied] = True
            if copied.size:
                parts.append(_taken(value, axis, copied))
                places.append(copied)
        if not taken.any():
            continue
        kept = np.flatnonzero(~taken)
        if kept.size:
            parts.append(_part(op, axis, kept))
            places.append(kept)
        instead = np.where(needed, type.lo, np.clip(0, type.lo, type.hi))
        shape = tuple(size if i == axis else 1 for i in range(len(type.shape)))
        fixed = np.where(dead.reshape(shape), instead, 0)
        if not parts:
            x = op.x.owner.x if isinstance(op.x.owner, Round) else op.x
            rewriter.replace(op, AddClear(MulClear(x, np.array(0)).result, compress(fixed)))
            return True
        value = _put_back(parts, np.concatenate(places), axis, size)
        value = AddClear(value, compress(fixed)).result if fixed.any() else value
        whole = value.int_type
        if (whole.lo < type.lo).any() or (whole.hi > type.hi).any():  # it is taken for all alike
            value = Assume(value, type.lo, type.hi).result
        rewriter.replace(op, value)
        return True
    return False


def _copied(op: Bootstrap) -> Iterator[tuple[Value, Array]]:
    """Operands that elements of the result equal, and a mask of which."""
    if isinstance(op, Max):
        x, y = op.x.int_type, op.y.int_type
        for value, mask in ((op.x, x.lo >= y.hi), (op.y, y.lo >= x.hi)):
            yield value, np.broadcast_to(mask, op.result.shape)


def _part(op: Bootstrap, axis: int, kept: Ints) -> Value:
    """The same operation at some places along an axis."""
    if not isinstance(op, Lookup):
        x = _taken(op.x, axis, kept)
        return type(op)(x, x if op.y is op.x else _taken(op.y, axis, kept)).result
    x = op.x
    if isinstance(x.owner, Round):
        x = Round(_taken(x.owner.x, axis, kept), x.owner.lsbs, x.owner.exact).result
    else:
        x = _taken(x, axis, kept)
    table = of_rank(op.table, len(op.result.shape))
    table = table if table.shape[axis] == 1 else table.take(kept, axis)
    return op.copy({op.x: x}, table=table).result


def _put_back(parts: list[Value], places: Ints, axis: int, size: int) -> Value:
    """Parts at these places along an axis of so many, 0 at all others."""
    value = parts[0] if len(parts) == 1 else Concat(tuple(parts), axis).result
    if len(places) < size:
        after = tuple(int(i == axis) for i in range(len(value.shape)))
        value = Pad(value, (0,) * len(after), after, 0).result
    where = np.full(size, len(places))
    where[places] = np.arange(len(places))
    return _taken(value, axis, where)


def _taken(x: Value, axis: int, which: Ints) -> Value:
    """x at some places along an axis."""
    if len(which) == x.shape[axis] and (which == np.arange(len(which))).all():
        return x
    index = np.arange(int(np.prod(x.shape))).reshape(x.shape)
    return movement_of(x, index.take(which, axis)).result


def of_rank(table: Ints, rank: int) -> Ints:
    """A table [*channels, entries] with as many leading axes as its input has."""
    return table.reshape((1,) * (rank + 1 - table.ndim) + table.shape)
