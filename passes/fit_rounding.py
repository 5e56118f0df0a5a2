"""Pass `fit-rounding`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lutra.ir.core import Graph, dependencies
from lutra.ir.errors import PipelineError
from lutra.ir.interpreter import Interpreter
from lutra.ir.ops import AddClear, Assume, Halve, Lookup, MulClear, Round
from lutra.ir.ops.tables import NEGACYCLIC
from lutra.ir.rewriter import Rewriter
from lutra.ir.types import Array, Ints, Shape, compress
from lutra.passes.base import Context, Lossy, Pass
from lutra.passes.bits import Bits, bits_for, check_bits
from lutra.passes.cells import Cells, Function
from lutra.passes.dce import eliminate_dead_code
from lutra.passes.regions import output_axes

POSITION_BITS = 11
"""Bits of places in a look-up's range that are told apart when cells are chosen."""
FINE = 4
"""Bits of the finest factors that are tried."""
CLOSE = 0.05
"""`slack` of what reads inputs alone."""


@dataclass(frozen=True)
class FitRounding(Pass):
    """Keep `bits` bits of every look-up's input, in cells that fit the function.

    A look-up of a quantized activation has few results, and only between them need its input be
    told apart. Each channel is stretched by an integer factor and shifted, so that cell boundaries
    lie at the steps of its table, then rounded approximately:

        lookup(x, t)    ->    lookup(round(k * x + c), u, beyond=negacyclic) + m

    What noise moves into a neighbouring cell is an input at which the function changes anyway.
    Tables are negacyclic, and m lies in the middle between the function's values at the two ends:
    so a function that is constant far from its steps, as clipped ones are, has twice as many cells
    as entries, and its range hardly matters. Where m is a half, the table has doubled entries, and
    the result is halved.

    Width, place and entries are those of the least mean squared error, for each channel, of inputs
    as calibration saw them and one more somewhere in the range; what leaves the cells wraps.
    Look-ups that read no more than `bits` bits, or exactly rounded values, stay as they are.

    A factor k multiplies the noise of the look-ups before, too. So all factors are as small as
    keeps the error within 1 + `slack` times what the finest ones would have; the client's inputs
    have little noise, and layers that read only these take nearly the finest.

    bits: one number, or a map from patterns of layers' names.
    observe: weigh inputs by calibration data; else all of a range count alike, and no data are
        needed.
    """

    name = "fit-rounding"
    contract = Lossy
    requires = frozenset({"tables", "one graph"})
    bits: Bits = 4
    observe: bool = True
    slack: float = 0.5

    def __post_init__(self) -> None:
        check_bits(self.bits, "bits", low=1)
        if self.slack < 0:
            raise PipelineError("P002", f"`slack` is {self.slack}, which is negative")

    def run(self, graph: Graph, rewriter: Rewriter, context: Context) -> None:
        found = [_Places(op) for op in graph.of(Lookup) if self._wide(op)]
        counts = self._observed(graph, found, context)
        for done, (places, seen) in enumerate(zip(found, counts, strict=True)):
            context.progress(self.name, done, len(found))
            self._fit(places, places.functions(seen), rewriter)
        context.progress(self.name, len(found), len(found))
        eliminate_dead_code(graph, rewriter)

    def _wide(self, op: Lookup) -> bool:
        exact = isinstance(op.x.owner, Round) and op.x.owner.exact
        return not exact and op.index_bits > bits_for(self.bits, op.loc, "bits")

    def _fit(self, places: _Places, functions: Sequence[Function], rewriter: Rewriter) -> None:
        """Round what one look-up reads, to cells of the coarsest factors that are good enough."""
        bits = bits_for(self.bits, places.op.loc, "bits")
        lsbs = range(max(0, places.size[1].bit_length() - bits) + FINE)
        rows = _all_cells(functions, bits, lsbs)
        losses = [float(np.mean([cells.loss for cells in row])) for row in rows]
        noisy = any(isinstance(op, Lookup) for op in dependencies([places.op.x]))
        bound = min(losses) * (1 + (self.slack if noisy else min(self.slack, CLOSE))) + 1e-9
        chosen = next(n for n in lsbs if losses[n] <= bound)
        _rewrite(places, rows[chosen], chosen, rewriter)

    def _observed(self, graph: Graph, found: Sequence[_Places], context: Context) -> list[Array]:
        """How often each look-up's channels have each input: [channels, places]."""
        counts = [np.zeros(places.size) for places in found]
        if not self.observe or not found:
            return counts
        interpreter = Interpreter(graph, [places.op.x for places in found])
        for samples in context.batches(self.name):
            for places, seen, x in zip(found, counts, interpreter.run(samples), strict=True):
                seen += places.count(x)
        return counts


class _Places:
    """The inputs of a look-up, for each channel from the lowest to the highest of any.

    step: integers to a place, a power of two.
    size: channels, and places of each.
    """

    def __init__(self, op: Lookup) -> None:
        self.op, self.type = op, op.x.int_type
        lead, lo, hi = op.table.shape[:-1], self.type.lo, self.type.hi
        self.shape = _channels(op, np.broadcast_shapes(lead, lo.shape, hi.shape))
        span = self.type.max - self.type.min + 1
        self.step = 1 << max(0, (span - 1).bit_length() - POSITION_BITS)
        self.size = (math.prod(self.shape), -(-span // self.step))

    @property
    def first(self) -> float:
        """The middle of the first place, in places."""
        return (self.type.min + (self.step - 1) / 2) / self.step

    def count(self, x: Array) -> Array:
        """How often integers x (samples, *shape) are in each place."""
        channels, places = self.size
        which = np.arange(channels).reshape(self.shape) * places
        place = np.clip((x - self.type.min) // self.step, 0, places - 1)
        counts = np.bincount((which + place).reshape(-1), minlength=channels * places)
        return counts.reshape(self.size)

    def functions(self, counts: Array) -> list[Function]:
        """Each channel's entries; what was seen, and one more spread evenly over its range."""
        x = self.type.min + self.step // 2 + self.step * np.arange(self.size[1])
        lo = _reduced(np.minimum, self.type.lo, self.shape).reshape(-1, 1)
        hi = _reduced(np.maximum, self.type.hi, self.shape).reshape(-1, 1)
        within = np.clip(x, lo, hi)
        inside = np.abs(within - x) <= self.step // 2
        places = within.T.reshape(len(x), *self.shape)
        values = self.op.eval(places).reshape(len(x), -1).T
        weights = counts + inside / inside.sum(1, keepdims=True)
        return [Function(f, w, self.first) for f, w in zip(values, weights, strict=True)]


def _channels(op: Lookup, shape: Shape) -> Shape:
    """A shape of tables and ranges, without the axes along which only the ranges of sums differ.

    Convolutions add up fewer terms at the borders of images.
    """
    linear = output_axes(op.x, moved=True)
    if not linear:
        return shape
    first = len(op.x.shape) - len(shape)
    tables = (1,) * (len(shape) + 1 - op.table.ndim) + op.table.shape[:-1]
    return tuple(
        size if axis + first in linear else tables[axis] for axis, size in enumerate(shape)
    )


def _reduced(extreme: np.ufunc, ends: Ints, shape: Shape) -> Ints:
    """The extreme of ranges' ends over the axes that `shape` does not have."""
    ends = ends.reshape((1,) * (len(shape) - ends.ndim) + ends.shape)
    axes = tuple(axis for axis, size in enumerate(shape) if size < ends.shape[axis])
    return np.broadcast_to(extreme.reduce(ends, axes, keepdims=True), shape)


def _rewrite(places: _Places, found: Sequence[Cells], lsbs: int, rewriter: Rewriter) -> None:
    """Put the rounded look-up in the place of the one that reads all bits."""
    op = places.op
    owner = op.x.owner
    x, dropped = (owner.x, owner.lsbs) if isinstance(owner, Round) else (op.x, 0)
    lsbs += dropped + places.step.bit_length() - 1
    factor = np.array([cells.factor for cells in found])
    origin = np.array([cells.origin for cells in found]) * places.step
    # rounding moves up what lies in the middle, and so has boundaries half a unit below
    shift = np.rint(-factor * origin * 2.0**dropped - 0.5).astype(np.int64) - (1 << lsbs >> 1)

    def along(numbers: Ints) -> Ints:
        return compress(numbers.reshape(places.shape))

    value = AddClear(MulClear(x, along(factor)).result, along(shift)).result
    value = Round(value, lsbs).result if lsbs else value
    table = np.stack([cells.table for cells in found])
    middle = np.array([cells.middle for cells in found])
    halves = bool((middle % 2).any())
    table, middle = (table, middle) if halves else (table // 2, middle // 2)
    value = Lookup(value, 0, table.reshape(*places.shape, -1), NEGACYCLIC).result
    value = AddClear(value, along(middle)).result
    value = Halve(value).result if halves else value
    type = op.result.int_type  # which what is computed otherwise is not known to keep to
    rewriter.replace(op, value if value.type == type else Assume(value, type.lo, type.hi))


def _all_cells(
    functions: Sequence[Function], bits: int, lsbs: Sequence[int]
) -> list[tuple[Cells, ...]]:
    """For each number of lsbs the cells of all functions; those that are alike share the search."""
    kept: dict[tuple[bytes, bytes], list[Cells]] = {}
    columns = []
    for f in functions:
        key = (f.values.tobytes(), f.weights.tobytes())
        if key not in kept:
            kept[key] = f.cells(bits, lsbs)
        columns.append(kept[key])
    return list(zip(*columns, strict=True))
