"""Runs integer circuits on batches in the clear: what the samples do not change is decided before.

Bit for bit the reference meaning, in fewer and cheaper passes over the arrays:

- layers multiply in the fastest floating-point type in which all their sums are exact, chosen by
  what values can reach even where claims of ranges fail;
- what stands between a layer and its look-up (constants, claims of ranges, rounding) is one step
  with the look-up, in place and on 32-bit integers where they fit;
- tables hold their negated half, too, and numbers of the type in which the next layer multiplies;
- arrays between such steps keep samples on the last axis in memory, where layers need no
  transposed copies, channels select tables and convolutions gather whole rows. All other
  operations see a view with samples first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lutra.ir import arith
from lutra.ir.core import Graph, Op, Value
from lutra.ir.interpreter import Interpreter, Step, Steps
from lutra.ir.ops import AddClear, Assume, Conv, Lookup, MatMul, Round
from lutra.ir.ops.movement import Movement
from lutra.ir.reach import reaches
from lutra.ir.types import Array, Ints

Form = Any
"""numpy's type of the numbers in an array."""

INTEGERS: Form = np.dtype(np.int64)
CHUNK = 1 << 24
"""Elements of the largest intermediate arrays."""


class Plan(Interpreter):
    """The reference meaning of a circuit, prepared for many samples at once."""

    def _plan(self) -> Steps:
        plain = super()._plan()
        reach = reaches(self.graph)
        chains = {op: self._chain(op) for op in self.graph.of(Lookup)}
        inner = {op for chain in chains.values() for op in chain}
        types = {op: t for op in self.graph.ops if (t := _multiplies_in(op, reach)) is not None}
        wanted = _wanted(self.graph, types, {chain[0] for chain in chains.values()})
        steps: list[Op | Step] = []
        for step in plain:
            if isinstance(step, MatMul) and step in types:
                steps.append(_Product(step, types[step], wanted.get(step.result)))
            elif isinstance(step, Conv) and step in types:
                steps.append(_Convolution(step, types[step], wanted.get(step.result)))
            elif isinstance(step, Lookup):
                form = wanted.get(step.result)
                steps.append(_Table(chains[step], reach, form, self._count))
            elif step not in inner:
                steps.append(step)
        return steps

    def _chain(self, op: Lookup) -> list[Op]:
        """What one step computes: constants, claims, at most one rounding, and the look-up."""
        chain: list[Op] = [op]
        while isinstance(source := chain[0].operands[0].owner, AddClear | Assume | Round):
            value = source.result
            rounded = any(isinstance(step, Round) for step in chain)
            if (
                len(value.users) > 1
                or value in self.fetch
                or (rounded and isinstance(source, Round))
            ):
                break
            chain.insert(0, source)
        return chain

    def _count(self, op: Assume, count: int) -> None:
        self.violations[op] = self.violations.get(op, 0) + count


def _multiplies_in(op: Op, reach: Mapping[Value, int]) -> Form | None:
    """Type in which a layer's sums are exact; none for what is no layer, or not exact in floats."""
    one_matrix = isinstance(op, MatMul) and op.w.ndim == 2
    one_image = isinstance(op, Conv) and op.x.shape[0] == 1
    if not (one_matrix or one_image):
        return None
    bound = reach[op.result]  # of all partial sums, too
    if bound < 2**24:
        return np.dtype(np.float32)
    return np.dtype(np.float64) if bound < 2**53 else None


def _wanted(graph: Graph, types: Mapping[Op, Form], heads: set[Op]) -> dict[Value, Form]:
    """The type that all readers of a value take it in; no entry where any type serves them all.

    Layers read the type in which they multiply, chains before look-ups any, and operations that
    move elements what the readers of their result want. All others read 64-bit integers.
    """
    wanted: dict[Value, Form] = {}
    for op in reversed(list(graph.ops)):
        for value in op.operands:
            form = types.get(op)
            if form is None and isinstance(op, Movement):
                if op.result not in wanted:
                    continue
                form = wanted[op.result]
            elif form is None:
                if op in heads:
                    continue
                form = INTEGERS
            wanted[value] = form if wanted.get(value, form) == form else INTEGERS
    return wanted


def samples_last(array: Array, form: Form | None = None) -> Array:
    """(samples, *shape) as (*shape, samples), contiguous; no copy where memory lies so already."""
    return np.ascontiguousarray(np.moveaxis(array, 0, -1), form)


def samples_first(array: Array) -> Array:
    """A view of (*shape, samples) as (samples, *shape)."""
    return np.moveaxis(array, -1, 0)


class _Product:
    """x @ w for a matrix w."""

    def __init__(self, op: MatMul, form: Form, wanted: Form | None) -> None:
        self.inputs, self.outputs = op.operands, op.results
        self._w = np.ascontiguousarray(op.w.T, form)
        self._form, self._wanted = form, wanted or form

    def run(self, arrays: Sequence[Array], samples: int) -> list[Array]:
        x = samples_last(arrays[0], self._form)
        return [samples_first(np.matmul(self._w, x).astype(self._wanted, copy=False))]


class _Convolution:
    """A convolution of one image for each sample."""

    def __init__(self, op: Conv, form: Form, wanted: Form | None) -> None:
        self.inputs, self.outputs = op.operands, op.results
        self._op = op
        self._w = op.w.reshape(op.group, op.w.shape[0] // op.group, -1).astype(form)
        self._form, self._wanted = form, wanted or form
        positions = int(np.prod(op.result.shape[2:]))
        self._chunk = max(1, CHUNK // max(1, self._w.shape[-1] * op.group * positions))

    def run(self, arrays: Sequence[Array], samples: int) -> list[Array]:
        x = samples_first(samples_last(arrays[0], self._form))[:, 0]
        shape = self._op.result.shape
        result = np.empty((*shape, len(x)), self._form)
        for start in range(0, len(x), self._chunk):
            part = slice(start, start + self._chunk)
            products = np.matmul(self._w, self._columns(x[part]))
            result[..., part] = products.reshape(*shape, -1)
        return [samples_first(result.astype(self._wanted, copy=False))]

    def _columns(self, x: Array) -> Array:
        """What each kernel sees: [group, C/group * kernel, positions * samples]."""
        op = self._op
        windows = arith.conv_windows(x, op.w.shape[2:], op.strides, op.dilations)
        space = op.w.ndim - 2
        kernel, positions = range(2 + space, 2 + 2 * space), range(2, 2 + space)
        return windows.transpose(1, *kernel, *positions, 0).reshape(op.group, self._w.shape[-1], -1)


@dataclass(frozen=True)
class _Claim:
    """An `assume` in a chain: its bounds, relative to the array as it is there."""

    op: Assume
    lo: Ints
    hi: Ints

    def violations(self, y: Array) -> int:
        """How many elements of y lie outside. Extremes over the samples mostly say none."""
        if not y.size or (
            (y.min(-1, keepdims=True) >= self.lo).all()
            and (y.max(-1, keepdims=True) <= self.hi).all()
        ):
            return 0
        return int(np.count_nonzero((y < self.lo) | (y > self.hi)))


@dataclass(frozen=True)
class _Shift:
    """Rounding in a chain, with the constants before it: (y + c) >> lsbs."""

    c: Ints
    lsbs: int


class _Table:
    """Constants, claims of ranges, rounding and a look-up: table[((x + a) >> lsbs) + b]."""

    def __init__(
        self,
        chain: Sequence[Op],
        reach: Mapping[Value, int],
        wanted: Form | None,
        count: Callable[[Assume, int], None],
    ) -> None:
        *before, op = chain
        assert isinstance(op, Lookup)
        self.inputs, self.outputs = chain[0].operands, op.results
        self._count = count
        self._rank = len(op.x.shape)
        self._form = _index_form(before, op, reach)
        self._steps, pending = self._prepare(before)
        offset = pending - op.base
        both = np.concatenate([op.table, -op.table], axis=-1)  # the table is negacyclic
        if offset.size == 1:  # the table turns instead
            both = np.roll(both, -offset.item() % both.shape[-1], axis=-1)
        self._offset = None if offset.size == 1 else offset.astype(self._form)
        self._mask = both.shape[-1] - 1
        self._table = np.ascontiguousarray(both.reshape(-1), wanted or INTEGERS)
        starts = self._aligned(op.which * both.shape[-1])
        self._starts = starts.astype(self._form) if starts.size > 1 else None

    def _prepare(self, chain: Sequence[Op]) -> tuple[list[_Claim | _Shift], Ints]:
        """The steps that touch the array, and what is still to be added to it after them."""
        steps: list[_Claim | _Shift] = []
        pending: Ints = np.zeros((), np.int64)
        for op in chain:
            if isinstance(op, AddClear):
                pending = pending + self._aligned(op.c)
            elif isinstance(op, Assume):
                lo, hi = (self._aligned(bound) - pending for bound in (op.lo, op.hi))
                steps.append(_Claim(op, lo, hi))
            elif isinstance(op, Round):
                steps.append(_Shift((pending + (1 << (op.lsbs - 1))).astype(self._form), op.lsbs))
                pending = np.zeros((), np.int64)
        return steps, pending

    def _aligned(self, array: Ints) -> Ints:
        """An array that broadcasts to the shape, as it broadcasts to (*shape, samples)."""
        return array.reshape(*(1,) * (self._rank - array.ndim), *array.shape, 1)

    def run(self, arrays: Sequence[Array], samples: int) -> list[Array]:
        y = samples_last(arrays[0], self._form)
        if np.may_share_memory(y, arrays[0]):
            y = y.copy()
        for step in self._steps:
            if isinstance(step, _Claim):
                self._count(step.op, step.violations(y))
            else:
                y += step.c
                y >>= step.lsbs
        if self._offset is not None:
            y += self._offset
        y &= self._mask
        if self._starts is not None:
            y += self._starts
        # all indices are in range; `clip` spares take's checks
        return [samples_first(self._table.take(y.astype(np.int64, copy=False), mode="clip"))]


def _index_form(chain: Sequence[Op], op: Lookup, reach: Mapping[Value, int]) -> Form:
    """int32 where nothing on the way from x to the index leaves it."""
    values = [value for step in (*chain, op) for value in step.operands]
    largest = max(reach[value] for value in values) + abs(op.base) + 2 * op.table.size
    largest += sum(1 << step.lsbs for step in chain if isinstance(step, Round))
    return np.dtype(np.int32 if largest < 2**31 else np.int64)
