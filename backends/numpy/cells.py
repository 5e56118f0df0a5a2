"""Elementwise regions of a circuit as tables: what follows from the cell that a value lies in.

All that rounding leaves of an integer is which cell of 2^k integers it lies in. So constants,
claims of ranges, roundings, look-ups and sums of these, however many look-ups one has been split
into, are one table[(x + shift) >> k]. It is found by running the region once for each cell, with
the largest k for which the boundaries of all roundings are boundaries of cells.

Tables cover the ranges that types and claims state. Where a value leaves them, the reference
meaning computes the sample, and counts what is claimed wrongly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lutra.ir.core import Op, Value
from lutra.ir.ops import (
    Add,
    AddClear,
    Assume,
    Halve,
    Lookup,
    Max,
    Mul,
    MulClear,
    Neg,
    Round,
    Sub,
)
from lutra.ir.types import Array, Ints

Form = Any
"""numpy's type of the numbers in an array."""

INTEGERS: Form = np.dtype(np.int64)
EXACT = {np.dtype(np.float32): 1 << 24, np.dtype(np.float64): 1 << 53, INTEGERS: 1 << 62}
"""Below these magnitudes, sums of integers are exact."""

ELEMENTWISE = (Add, AddClear, Assume, Halve, Lookup, Max, Mul, MulClear, Neg, Round, Sub)
LEVELLED = (Add, AddClear, Assume, Sub)
"""Those that add what moves along with the root."""
LIMIT = 1 << 20
"""Entries of a region's tables, unless its look-ups have more than a quarter of that already."""


@dataclass
class Region:
    """Elementwise operations that depend on one value alone, and those results that others read."""

    root: Value
    ops: list[Op] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)


def regions(ops: Sequence[Op], fetched: Collection[Value]) -> list[Region]:
    """The regions of operations, in the order of their graph, that hold a look-up.

    Wide values, not rounded or looked up yet, end no region: one that others read begins another.
    """
    readers = Counter(value for op in ops for value in op.operands)
    cuts: set[Value] = set()
    while True:
        found, wide = _regions(ops, cuts)
        for region in found:
            inside = Counter(value for op in region.ops for value in op.operands)
            region.outputs = [
                op.result
                for op in region.ops
                if op.result in fetched or readers[op.result] > inside[op.result]
            ]
        more = {value for region in found for value in region.outputs if value in wide}
        if not more:
            return [r for r in found if any(isinstance(op, Lookup) for op in r.ops)]
        cuts |= more


def _regions(ops: Sequence[Op], cuts: Collection[Value]) -> tuple[list[Region], set[Value]]:
    """Regions that results in `cuts` stay out of, and the values that are still wide."""
    roots: dict[Value, Value] = {}
    found: dict[Value, Region] = {}
    wide: set[Value] = set()
    for op in ops:
        if not isinstance(op, ELEMENTWISE) or op.result in cuts:
            continue
        own = {roots.get(value, value) for value in op.operands}
        if len(own) > 1 or any(value.shape != op.result.shape for value in op.operands):
            continue
        root = roots[op.result] = own.pop()
        found.setdefault(root, Region(root)).ops.append(op)
        reads_wide = any(value is root or value in wide for value in op.operands)
        if reads_wide and not isinstance(op, Round | Lookup):
            wide.add(op.result)
    return list(found.values()), wide


@dataclass(frozen=True)
class _Domain:
    """What the tables of a region cover, for each of its rows: elements that compute the same.

    shape: of the rows, which broadcasts to the shape of the region's values.
    lo, hi: the integers that the root may be.
    phase: integers before which the first rounding has a boundary, up to multiples of 2^k.
    claims: those that lo and hi imply.
    """

    shape: tuple[int, ...]
    lo: Ints
    hi: Ints
    phase: Ints
    claims: frozenset[Assume]

    @classmethod
    def of(cls, region: Region) -> _Domain:
        rank = len(region.root.shape)
        parts = [_constants(op) for op in region.ops]
        shapes = (array.shape for arrays in parts for array in arrays)
        shape = np.broadcast_shapes((1,) * rank, *shapes)
        type = region.root.int_type
        lo, hi = (_reduced(a, shape, f) for a, f in ((type.lo, np.min), (type.hi, np.max)))
        phase, offsets, claims = np.zeros((), np.int64), {region.root: np.zeros((), np.int64)}, []
        aligned = False
        for op in region.ops:
            offset = offsets.get(op.operands[0])
            if offset is None:
                continue
            if isinstance(op, AddClear):
                offsets[op.result] = offset + op.c
            elif isinstance(op, Assume):
                offsets[op.result] = offset
                lo, hi = np.maximum(lo, op.lo - offset), np.minimum(hi, op.hi - offset)
                claims.append(op)
            elif isinstance(op, Round) and not aligned:
                phase, aligned = -(offset + (1 << (op.lsbs - 1))), True
        lo, hi, phase = (np.broadcast_to(array, shape) for array in (lo, hi, phase))
        return cls(shape, lo, hi, phase, frozenset(claims))


def _constants(op: Op) -> Sequence[Array]:
    """What may differ between elements, as arrays without an axis of entries."""
    if isinstance(op, Lookup):
        return (op.table[..., 0],)
    if isinstance(op, Assume):
        return op.lo, op.hi
    return (op.c,) if isinstance(op, AddClear | MulClear) else ()


def _reduced(array: Array, shape: tuple[int, ...], function: Callable[..., Array]) -> Array:
    """Extremes over the axes along which rows do not differ."""
    full = array.reshape((1,) * (len(shape) - array.ndim) + array.shape)
    axes = tuple(i for i, size in enumerate(shape) if size == 1)
    return np.asarray(function(full, axis=axes, keepdims=True))


@dataclass(frozen=True)
class Tables:
    """What a region gives in each cell of 2^k integers.

    first: where the first cell of a row begins.
    entries: of the region's outputs, [rows * cells].
    suspect: cells in which a claim may fail, [rows * cells].
    """

    region: Region
    domain: _Domain
    k: int
    first: Ints
    entries: Mapping[Value, Ints]
    suspect: Array


def tabulated(region: Region, reach: int) -> Tables | None:
    """A region as tables; none where they would be too large.

    reach: a bound on the root's magnitude, whatever is claimed.
    """
    domain = _Domain.of(region)
    if reach >= EXACT[INTEGERS] or not domain.lo.size or (domain.lo > domain.hi).any():
        return None
    own = sum(op.table.size for op in region.ops if isinstance(op, Lookup))
    span = int((domain.hi - domain.lo).max())
    coarsest = min((op.lsbs for op in region.ops if isinstance(op, Round)), default=0)
    for k in range(coarsest, -1, -1):
        if domain.lo.size * ((span >> k) + 2) > max(LIMIT, 4 * own):
            return None
        tables = _tabulate(region, domain, k)
        if tables is not None:
            return tables
    return None


def _tabulate(region: Region, domain: _Domain, k: int) -> Tables | None:
    """The region's results if cells are 2^k wide; none if they depend on more than that."""
    first = domain.lo - (domain.lo - domain.phase) % (1 << k)
    cells = int(((domain.hi - first) >> k).max()) + 1
    steps = np.arange(cells).reshape(-1, *(1,) * first.ndim) << k
    arrays: dict[Value, Ints] = {region.root: first + steps}
    slopes = {region.root: int(k > 0)}  # by how much a value moves when the root does, in a cell
    suspect = np.zeros(arrays[region.root].shape, bool)
    for op in region.ops:
        xs, slope = [arrays[value] for value in op.operands], _slope(op, slopes)
        if isinstance(op, Round) and slope == 1:
            if ((xs[0] + (1 << (op.lsbs - 1))) & ((1 << k) - 1)).any():
                return None
            slope = 0
        elif isinstance(op, Assume) and op not in domain.claims:
            ends = xs[0] + slope * ((1 << k) - 1)
            suspect |= (np.minimum(xs[0], ends) < op.lo) | (np.maximum(xs[0], ends) > op.hi)
        elif slope and not isinstance(op, LEVELLED):
            return None
        arrays[op.result], slopes[op.result] = op.eval(*xs), slope
    if any(slopes[value] for value in region.outputs):
        return None
    suspect &= arrays[region.root] <= domain.hi  # beyond lies nothing of this row
    entries = {value: _rows(arrays[value]) for value in region.outputs}
    return Tables(region, domain, k, first, entries, _rows(suspect))


def _slope(op: Op, slopes: Mapping[Value, int]) -> int:
    """By how much the result moves when the root does; any but 0 where that is not one number."""
    first, *others = (slopes[value] for value in op.operands)
    if isinstance(op, Add):
        return first + others[0]
    if isinstance(op, Sub):
        return first - others[0]
    return first or next(filter(None, others), 0)


def _rows(array: Array) -> Array:
    """[cells, *rows] as [rows * cells]."""
    return np.ascontiguousarray(np.moveaxis(array, 0, -1)).reshape(-1)


class Cells:
    """A region as one step.

    reach: as of `tabulated`.
    checked: whether the root may leave its type's range, since claims stand before it.
    wanted: the type of an output's numbers, 64-bit integers without an entry.
    count: is told of claims that fail, and how often.
    """

    def __init__(
        self,
        tables: Tables,
        reach: int,
        checked: bool,
        wanted: Mapping[Value, Form],
        count: Callable[[Assume, int], None],
    ) -> None:
        region, domain = tables.region, tables.domain
        self.inputs: tuple[Value, ...] = (region.root,)
        self.outputs = tuple(region.outputs)
        self._region, self._count, self._k = region, count, tables.k
        self._lo, self._hi = domain.lo[..., None], domain.hi[..., None]
        rows = domain.lo.size
        starts = (np.arange(rows) * (tables.suspect.size // rows)).reshape(domain.shape)
        shift = ((starts << tables.k) - tables.first)[..., None]
        largest = reach + int(np.abs(shift).max())
        self._shift = {f: shift.astype(f) for f, bound in EXACT.items() if largest < bound}
        self._tables = [tables.entries[v].astype(wanted.get(v, INTEGERS)) for v in self.outputs]
        self._suspect = tables.suspect if tables.suspect.any() else None
        self._checked = checked or bool(domain.claims)
        for op in region.ops:
            if isinstance(op, Assume):
                count(op, 0)

    def run(self, arrays: Sequence[Array], samples: int) -> list[Array]:
        x = samples_last(arrays[0])
        if x.dtype not in self._shift:
            x = x.astype(np.int64)
        index = self._index(x)
        left = self._left(x, index)
        if left is not None:
            np.clip(index, 0, len(self._tables[0]) - 1, out=index)
        # all indices are in range now; `wrap` is what numpy checks fastest
        results = [table.take(index, mode="wrap") for table in self._tables]
        if left is not None:
            self._reference(x[..., left], results, left)
        return [samples_first(result) for result in results]

    def _index(self, x: Array) -> Array:
        """(x + shift) >> k. Floats are exact, and where they are not negative, cut off alike."""
        y = x + self._shift[x.dtype]
        if x.dtype == INTEGERS:
            y >>= self._k
        else:
            y *= x.dtype.type(2.0**-self._k)
        index: Array = y.astype(np.intp, copy=False)
        return index

    def _left(self, x: Array, index: Array) -> Array | None:
        """Which samples leave what the tables cover, if any. Mostly extremes alone say none."""
        axes = tuple(range(x.ndim - 1))
        left = np.zeros(x.shape[-1], bool)
        if self._checked and x.size:
            low, high = x.min(-1, keepdims=True), x.max(-1, keepdims=True)
            if (low < self._lo).any() or (high > self._hi).any():
                left |= ((x < self._lo) | (x > self._hi)).any(axes)
        if self._suspect is not None:
            left |= self._suspect.take(index, mode="clip").any(axes)
        return left if left.any() else None

    def _reference(self, x: Array, results: Sequence[Array], where: Array) -> None:
        """Put what the operations give for these samples into the results."""
        values: dict[Value, Array] = {self._region.root: samples_first(x).astype(np.int64)}
        for op in self._region.ops:
            operands = [values[value] for value in op.operands]
            if isinstance(op, Assume):
                self._count(op, op.violations(operands[0]))
            values[op.result] = op.eval(*operands)
        for result, value in zip(results, self.outputs, strict=True):
            result[..., where] = samples_last(values[value])


def samples_last(array: Array, form: Form | None = None) -> Array:
    """(samples, *shape) as (*shape, samples), contiguous; no copy where memory lies so already."""
    return np.ascontiguousarray(array.transpose(*range(1, array.ndim), 0), form)


def samples_first(array: Array) -> Array:
    """A view of (*shape, samples) as (samples, *shape)."""
    view: Array = array.transpose(-1, *range(array.ndim - 1))
    return view
