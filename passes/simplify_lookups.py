"""Pass `simplify-lookups`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lutra.ir.core import Graph, Value
from lutra.ir.ops import (
    Add,
    AddClear,
    Assume,
    Lookup,
    Max,
    Movement,
    Mul,
    MulClear,
    Neg,
    Pad,
    Round,
    Sub,
)
from lutra.ir.ops.tables import extremes
from lutra.ir.rewriter import Rewriter
from lutra.ir.types import Array, Ints, compress
from lutra.passes.base import Context, Exact, Pass
from lutra.passes.dce import eliminate_dead_code
from lutra.passes.drop_parts import Bootstrap, drop_parts, of_rank
from lutra.passes.needed import needed_elements

PARTED = 10
"""Bits of the widest look-ups in circuits whose tensors are taken apart. Concrete computes wider
ones in another representation, of which it cannot put tensors together again."""


@dataclass(frozen=True)
class SimplifyLookUps(Pass):
    """Do without look-ups whose results can be had for less, for all inputs within their ranges.

        lookup(lookup(x, t), u)          ->  lookup(x, u[t])      also with movements between
        lookup(x, t), t[i] = a * i + b   ->  x * a + b            for a = 0: a constant
        lookup(x, t), lookup(x, u)       ->  u = ±t + a * i + b becomes ±lookup(x, t) + x * a + b
        lookup(x, t), constant channels  ->  only the others are looked up, and what is needed
        max(x, y), x >= y in channels    ->  x there; maxima and products of what is needed only
        max(x, y), -max(-x, -y)          ->  the second is x + y - max(x, y)

    All that counts of a table are the entries that the input's range reaches, for each channel or
    element: channels that a ReLU always cuts off, functions that never leave their straight part,
    ReLU of x and of -x, tables that differ where nothing gets. Of a rounded value only look-ups
    are made, as nothing else may read it. Not needed is what only weights of 0 read, what strides
    skip and what movements leave out. Constant channels, and those that are not needed, stay where
    a look-up of the graph has more than `widest` bits.

    widest: more than 10 where other passes narrow the look-ups later.
    """

    name = "simplify-lookups"
    contract = Exact
    widest: int = PARTED

    def run(self, graph: Graph, rewriter: Rewriter, context: Context) -> None:
        parted = max((op.index_bits for op in _bootstraps(graph)), default=0) <= self.widest
        before = -1
        while rewriter.changes != before:  # what is left of one look-up may be simplified again
            before = rewriter.changes
            for op in list(graph.of(Lookup)):
                for step in (_compose, _straighten, _relate):
                    if op.graph is graph and step(op, rewriter):
                        break
            _share_maxima(graph, rewriter)
            eliminate_dead_code(graph, rewriter)
            if parted and rewriter.changes == before:
                needed = needed_elements(graph)
                for site in _bootstraps(graph):
                    drop_parts(site, needed[site.result], rewriter)


def _bootstraps(graph: Graph) -> list[Bootstrap]:
    return [op for op in graph.ops if isinstance(op, Lookup | Max | Mul)]


def _compose(outer: Lookup, rewriter: Rewriter) -> bool:
    """lookup(move(lookup(x, t)), u) -> move(lookup(x, u[t]))"""
    moves: list[Movement] = []
    value = outer.x
    while value.used_once and isinstance(value.owner, Movement) and outer.table.ndim == 1:
        if isinstance(value.owner, Pad):
            return False
        moves.append(value.owner)
        value = value.owner.x
    inner = value.owner
    if not (isinstance(inner, Lookup) and value.used_once):
        return False
    entries = np.moveaxis(of_rank(inner.table, len(inner.result.shape)), -1, 0)
    table = np.moveaxis(outer.eval(entries) if not moves else _evaluate(outer, entries), 0, -1)
    new: Value = inner.copy({}, table=table).result
    for move in reversed(moves):
        new = move.copy({move.x: new}).result
    rewriter.replace(outer, new)
    return True


def _evaluate(op: Lookup, entries: Array) -> Array:
    """A look-up of one table, of integers of any shape."""
    return Lookup.eval(op, entries.reshape(-1)).reshape(entries.shape)


def _straighten(op: Lookup, rewriter: Rewriter) -> bool:
    """lookup(x, t) -> x * a + b, where t[i] = a * i + b on the range of x"""
    found = straight(op, op.table)
    if found is None:
        return False
    slope, start = found
    x = op.x
    if isinstance(x.owner, Round):
        if slope.any():
            return False
        x = x.owner.x
    scaled = MulClear(x, compress(slope)).result
    rewriter.replace(op, AddClear(scaled, compress(start)))
    return True


def _relate(op: Lookup, rewriter: Rewriter) -> bool:
    """lookup(x, u) -> ±lookup(x, t) + x * a + b, where u = ±t + a * i + b on the range of x"""
    for other in op.x.users:
        if other is op:
            return False  # what comes later is no help: users stand in the order of the graph
        if not isinstance(other, Lookup) or (other.base, other.entries) != (op.base, op.entries):
            continue
        for sign in (1, -1):
            found = straight(op, op.table - sign * other.table)
            if found is None or (isinstance(op.x.owner, Round) and found[0].any()):
                continue
            slope, start = (compress(array) for array in found)
            value = MulClear(other.result, np.array(sign)).result
            if slope.any():
                value = Add(value, MulClear(op.x, slope).result).result
            value = AddClear(value, start).result
            if value.type != op.result.type:  # of terms that are not independent
                value = Assume(value, op.result.int_type.lo, op.result.int_type.hi).result
            rewriter.replace(op, value)
            return True
    return False


def _share_maxima(graph: Graph, rewriter: Rewriter) -> None:
    """-max(-x, -y) -> x + y - max(x, y), where that maximum was taken before"""
    taken: dict[frozenset[Value], Max] = {}
    for op in list(graph.ops):
        if isinstance(op, Max):
            taken.setdefault(frozenset((op.x, op.y)), op)
        if not isinstance(op, Neg) or not isinstance(op.x.owner, Max):
            continue
        x, y = op.x.owner.x.owner, op.x.owner.y.owner
        if not (isinstance(x, Neg) and isinstance(y, Neg) and op.x.used_once):
            continue
        other = taken.get(frozenset((x.x, y.x)))
        if other is not None:
            least = Sub(Add(x.x, y.x).result, other.result).result
            type = op.result.int_type  # narrower than that of terms that are not independent
            rewriter.replace(op, Assume(least, type.lo, type.hi))


def straight(op: Lookup, table: Ints) -> tuple[Ints, Ints] | None:
    """(a, b) with table[..., i] = a * i + b for all i that each element of op.x may be; else None.

    a and b broadcast to x. The slope of what is one value only is 0.
    """
    x, n = op.x.int_type, op.entries
    if x.min < op.base or x.max >= op.base + n:
        return None
    rows = of_rank(table, len(x.shape))
    which = np.arange(rows[..., 0].size).reshape(rows.shape[:-1])
    lo, hi = np.broadcast_arrays(which * n + x.lo - op.base, which * n + x.hi - op.base)
    flat = rows.reshape(-1)
    steps = np.diff(flat, append=flat[-1:])  # steps from one row to the next are never asked for
    alone = lo == hi
    low, high = extremes(steps, lo, np.where(alone, lo, hi - 1))
    low, high = (np.where(alone, 0, bound) for bound in (low, high))
    if (low != high).any():
        return None
    return low, flat[lo] - low * np.broadcast_to(x.lo, low.shape)
