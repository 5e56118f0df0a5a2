"""Where a look-up may stand among the movements, maxima and look-ups behind it, and where at least.

A function f of elements commutes with whatever moves elements, and with maxima where it does not
fall. So each value behind a look-up can be had before f (*raw*) or after it (*done*). Raw values
are looked up where something reads them done; other look-ups may read them raw, with f composed
into their tables. Every choice has a price: a look-up costs its value's elements times the price of
the bits it reads, a maximum that of its difference, which may have more bits before f than after.
The least sum is a minimum cut: values on the source's side are raw, and f is looked up where the
cut separates a raw value from its looked-up twin.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import networkx as nx
import numpy as np

from lutra.ir.core import Graph, Op, Value
from lutra.ir.ops import Lookup, Max, Movement, Pad, Round
from lutra.ir.ops.tables import REFUSED
from lutra.ir.rewriter import Rewriter
from lutra.ir.types import Ints, compress
from lutra.passes.base import Context
from lutra.passes.dce import eliminate_dead_code

Insert: TypeAlias = Callable[[Value, Op], Value]
"""Puts an operation behind the definition of a value, and gives its result."""

WIDE = 2.0**16
"""Growth of noise before what layers give is looked up; see `Prices.look_up`."""

RAW, DONE = "raw", "done"


@dataclass
class Behind:
    """What may be computed before or after a look-up.

    rows: for each value the number of the look-up's table that its elements read, in the order of
        the graph; first the look-up's own result.
    look_ups: others, that read such a value.
    read: values that anything else reads.
    """

    look_up: Lookup
    rows: dict[Value, Ints] = field(default_factory=dict)
    look_ups: list[Lookup] = field(default_factory=list)
    read: set[Value] = field(default_factory=set)

    @property
    def steps(self) -> Iterator[Movement | Max]:
        for value in list(self.rows)[1:]:
            assert isinstance(value.owner, Movement | Max)
            yield value.owner


def behind(op: Lookup, graph: Graph) -> Behind:
    """What a look-up leads to by movements and maxima alone."""
    found = Behind(op, {op.result: compress(op.which)})
    if op.beyond != REFUSED:
        found.read.add(op.result)
        return found
    rises = bool((np.diff(op.table, axis=-1) >= 0).all())
    reached = {op.result}
    for user in graph.ops:
        values = [value for value in user.operands if value in reached]
        if not values:
            continue
        rows = _rows_behind(user, found.rows, rises)
        if rows is not None:
            found.rows[user.results[0]] = rows
            reached.add(user.results[0])
        elif isinstance(user, Lookup):
            found.look_ups.append(user)
        else:
            found.read.update(values)
    return found


def _rows_behind(op: Op, rows: Mapping[Value, Ints], rises: bool) -> Ints | None:
    """The tables that an operation's elements read if they are raw; none if they cannot be."""
    if isinstance(op, Movement) and not isinstance(op, Pad):
        before = rows[op.x]
        return before if before.size == 1 else compress(op.move(before))
    if isinstance(op, Max) and rises and op.x in rows and op.y in rows:
        first, second = (np.broadcast_to(rows[value], op.x.shape) for value in op.operands)
        return rows[op.x] if np.array_equal(first, second) else None
    return None


class _Builder:
    """Values before and after the look-up, made where they are asked for."""

    def __init__(self, region: Behind, insert: Insert, raw: frozenset[Hashable]) -> None:
        self._region, self._insert, self._is_raw = region, insert, raw
        op = region.look_up
        self._round = op.x.owner if isinstance(op.x.owner, Round) else None
        self._raw = {op.result: op.x if self._round is None else self._round.x}
        self._done = {op.result: op.result}

    def raw(self, value: Value) -> Value:
        if value not in self._raw:
            op = value.owner
            operands = {operand: self.raw(operand) for operand in op.operands}
            self._raw[value] = self._insert(value, op.copy(operands))
        return self._raw[value]

    def done(self, value: Value) -> Value:
        if value not in self._done:
            op = value.owner
            if value in self._is_raw:
                table = self._tables[self._region.rows[value]]
                self._done[value] = self._looked_up(value, table)
            else:
                operands = {operand: self.done(operand) for operand in op.operands}
                same = all(old is new for old, new in operands.items())
                self._done[value] = value if same else self._insert(value, op.copy(operands))
        return self._done[value]

    def composed(self, other: Lookup) -> Value:
        """What another look-up gives, read from the raw value."""
        rows = self._region.rows[other.x]
        lead = (1,) * (len(other.x.shape) - rows.ndim) + rows.shape
        entries = np.moveaxis(self._tables[rows.reshape(lead)], -1, 0)
        return self._looked_up(other.x, np.moveaxis(other.eval(entries), 0, -1))

    @property
    def _tables(self) -> Ints:
        op = self._region.look_up
        return op.table.reshape(-1, op.entries)

    def _looked_up(self, value: Value, table: Ints) -> Value:
        x = self.raw(value)
        if self._round is not None:
            x = self._insert(value, Round(x, self._round.lsbs, self._round.exact))
        return self._insert(value, Lookup(x, self._region.look_up.base, table))


def cheapest(region: Behind, context: Context) -> frozenset[Hashable]:
    """Which values, and which of the other look-ups, are best computed before the look-up."""
    prices, op = context.prices, region.look_up
    source = op.x.owner
    once = prices.look_up(op.index_bits, WIDE)
    if isinstance(source, Round) and source.exact:
        once += source.lsbs * prices.look_up(1, WIDE)
    build = _Builder(region, lambda value, new: new.results[0], frozenset())
    network = nx.DiGraph()

    def either(node: Hashable, raw: float, done: float) -> None:
        """What a node costs on either side."""
        for start, end, price in ((node, DONE, raw), (RAW, node, done)):
            network.add_edge(start, end, **({"capacity": price} if math.isfinite(price) else {}))

    def follows(node: Hashable, value: Value) -> None:
        """A node is computed from a value of its own side."""
        network.add_edge(node, value)
        network.add_edge((value, DONE), node)

    network.add_edge(RAW, op.result)
    for value in region.rows:
        network.add_edge(value, (value, DONE), capacity=value.size * once)
        if value in region.read:
            network.add_edge((value, DONE), DONE)
    for step in region.steps:
        for operand in step.operands:
            follows(step.result, operand)
        if isinstance(step, Max):
            bits = _bits(build.raw(step.result), context)
            raw = prices.look_up(bits, WIDE) if bits else math.inf
            done = prices.look_up(step.index_bits)
            either(step.result, step.result.size * raw, step.result.size * done)
    for other in region.look_ups:
        follows(other, other.x)
        done = prices.look_up(other.index_bits)
        either(other, other.result.size * once, other.result.size * done)
    _, (before, _) = nx.minimum_cut(network, RAW, DONE)
    return frozenset(before)


def _bits(value: Value, context: Context) -> int:
    """Bits that a maximum reads; 0 where it has more than the backend takes."""
    assert isinstance(value.owner, Max)
    bits = value.owner.index_bits
    return bits if bits <= context.lookup_bits else 0


def place(region: Behind, raw: frozenset[Hashable], rewriter: Rewriter) -> None:
    """Compute before the look-up what `cheapest` says."""
    last: dict[Value, Value] = {}

    def insert(behind: Value, op: Op) -> Value:
        last[behind] = rewriter.insert_after(last.get(behind, behind), op).results[0]
        return last[behind]

    build = _Builder(region, insert, raw)
    steps = set(region.steps)
    for value in region.rows:
        readers = [user for user in value.users if user not in steps and user not in raw]
        if readers and build.done(value) is not value:
            rewriter.replace_uses(value, build.done(value), only=readers)
    for other in region.look_ups:
        if other in raw:
            rewriter.replace(other, build.composed(other))
    eliminate_dead_code(rewriter.graph, rewriter)
