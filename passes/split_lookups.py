"""Pass `split-lookups`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lutra.ir.core import Graph, Value
from lutra.ir.errors import VerifyError
from lutra.ir.ops import Add, AddClear, Assume, Lookup, Round, Sub
from lutra.ir.ops.tables import NEGACYCLIC
from lutra.ir.rewriter import Rewriter
from lutra.ir.verifier import verify_graph
from lutra.passes.base import CircuitPass, Context, Lossy
from lutra.passes.splits import Split, split

GROWTH = 2.0**16
"""Growth of noise before look-ups that is assumed when prices are compared: wide weights."""

WIDEST = 12
"""Bits of the widest look-ups that are tried; the time that takes doubles with every bit."""


@dataclass(frozen=True)
class SplitLookUps(CircuitPass):
    """Compute large look-ups by three small ones, where that is cheaper.

    For functions that are straight but for one kink, such as ReLU, with n-bit inputs i:

        lookup(i, t)    ->    lookup(h, T) + lookup(i - lookup(h, V), g)    h = round(i, n - c bits)

    The coarse digit h, of c bits, says how far i is from the kink. V moves i by that much, to a
    window of four coarse cells around the kink, so that g has n - c + 2 bits; T puts back what the
    function does on the way. Where approximate rounding takes h for its neighbour, V and T err
    together, and the window is wide enough that the result stays the same: it is exact up to half
    a coarse cell of noise, which is what `p_error` allows.

    c is chosen for the least price, where results differ by no more than `error` times the range
    of the table (slopes that are no whole number of levels differ by up to one level). Look-ups
    that read exactly rounded values are left alone, and all are where the circuit as a whole would
    not become cheaper.
    """

    name = "split-lookups"
    contract = Lossy
    error: float = 0.01

    def run(self, graph: Graph, rewriter: Rewriter, context: Context) -> None:
        found = list(self._found(graph, context))
        if _cheaper(graph, found, context):
            for op, parts in found:
                _rewrite(op, parts, rewriter)

    def _found(self, graph: Graph, context: Context) -> Iterator[tuple[Lookup, Split]]:
        for op in graph.of(Lookup):
            parts = self._cheapest(op, context)
            if parts is not None:
                yield op, parts

    def _cheapest(self, op: Lookup, context: Context) -> Split | None:
        if isinstance(op.x.owner, Round) and op.x.owner.exact:
            return None
        if op.index_bits > WIDEST:
            return None

        def price(*bits: int) -> float:
            return sum(context.prices.look_up(each, GROWTH) for each in bits)

        tolerance = self.error * np.ptp(op.table, axis=-1).max()
        for coarse, fine in sorted(_sizes(op.index_bits), key=lambda c: price(c[0], *c)):
            if price(coarse, coarse, fine) >= price(op.index_bits):
                return None
            # one table mostly tells that it cannot be done
            if split(op.table.reshape(-1, op.entries)[0], coarse).error > tolerance:
                continue
            candidate = split(op.table, coarse)
            if candidate.error <= tolerance:
                return candidate
        return None


def _cheaper(graph: Graph, found: Sequence[tuple[Lookup, Split]], context: Context) -> bool:
    """Whether all of it makes the whole circuit cheaper: noise and shared parameters count, too.

    False also where a result that is off by a level could leave the table of a later look-up.
    """
    twin = graph.clone()
    twins = dict(zip(graph.ops, twin.ops, strict=True))
    rewriter = Rewriter(twin)
    for op, parts in found:
        copy = twins[op]
        assert isinstance(copy, Lookup)
        _rewrite(copy, parts, rewriter)
    try:
        verify_graph(twin)
    except VerifyError:
        return False
    return bool(found) and context.prices.circuit(twin) < context.prices.circuit(graph)


def _sizes(bits: int) -> Iterator[tuple[int, int]]:
    """Bits of the coarse digit and of the window for look-ups of `bits` bits."""
    for coarse in range(2, bits):
        yield coarse, bits - coarse + 2


def _rewrite(op: Lookup, found: Split, rewriter: Rewriter) -> None:
    """Put the three look-ups in the place of one."""

    def insert(new: AddClear | Add | Assume | Lookup | Round | Sub) -> Value:
        return rewriter.insert(new, before=op, loc=op.loc).result

    owner = op.x.owner
    x, lsbs = (owner.x, owner.lsbs) if isinstance(owner, Round) else (op.x, 0)
    step, half = 1 << lsbs, 1 << (found.fine_bits - 1)
    x = insert(AddClear(x, np.array(-op.base * step)))  # i, in units of x
    h = insert(Round(x, lsbs + found.fine_bits - 2))
    away = insert(Lookup(h, 0, found.shifts * step, NEGACYCLIC))
    near = insert(AddClear(insert(Sub(x, away)), -found.middle * step))
    lo, hi = (np.array(end * step - step // 2) for end in (-half, half))
    near = insert(Assume(near, lo, hi - 1))
    near = insert(Round(near, lsbs)) if lsbs else near
    fine = insert(Lookup(near, -half, found.window))
    coarse = insert(Lookup(h, 0, found.levels, NEGACYCLIC))
    total = insert(Add(coarse, fine))
    lo, hi = op.table.min(-1) - found.error, op.table.max(-1) + found.error
    rewriter.replace(op, Assume(total, lo, hi))
