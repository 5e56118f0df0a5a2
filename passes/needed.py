"""Which elements of a graph's integers its results depend on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lutra.ir.core import Graph, Op, Value
from lutra.ir.ops import (
    Add,
    AddClear,
    Assume,
    Concat,
    Conv,
    Lookup,
    MatMul,
    Max,
    Movement,
    Mul,
    MulClear,
    Neg,
    Pad,
    Round,
    Sub,
    Sum,
)
from lutra.ir.types import Array, Shape


def needed_elements(graph: Graph) -> dict[Value, Array]:
    """For each integer a mask of its shape: which of its elements may change any result.

    Weights and factors of 0, strides, and movements that leave elements out need the others only.
    What an operation without an entry below reads is all needed.
    """
    found: dict[Value, Array] = {}
    for op in reversed(list(graph.ops)):
        reads = READS.get(Movement if isinstance(op, Movement) else type(op), _unknown)
        wanted = found.get(op.results[0]) if len(op.results) == 1 else np.ones((), bool)
        if wanted is None:
            continue  # nothing reads it
        masks = reads(op, wanted)
        for value, mask in zip(op.operands, masks, strict=True):
            found[value] = found[value] | mask if value in found else mask
    return found


def _unknown(op: Op, wanted: Array) -> Iterator[Array]:
    return (np.ones(value.shape, bool) for value in op.operands)


def _onto(mask: Array, shape: Shape) -> Array:
    """Of a value that is broadcast from `shape`: where any of its copies is needed."""
    lead = mask.ndim - len(shape)
    stretched = (i + lead for i, size in enumerate(shape) if size < mask.shape[i + lead])
    return np.asarray(mask.any((*range(lead), *stretched), keepdims=True).reshape(shape))


def _same(op: Op, wanted: Array) -> Iterator[Array]:
    return (_onto(wanted, value.shape) for value in op.operands)


def _scaled(op: MulClear, wanted: Array) -> Iterator[Array]:
    yield _onto(wanted & (op.c != 0), op.x.shape)


def _looked_up(op: Lookup, wanted: Array) -> Iterator[Array]:
    type = op.result.int_type
    yield wanted & (type.lo != type.hi)


def _added_up(op: Sum, wanted: Array) -> Iterator[Array]:
    kept = wanted if op.keepdims else np.expand_dims(wanted, op.axes)
    yield np.broadcast_to(kept, op.x.shape)


def _multiplied(op: MatMul, wanted: Array) -> Iterator[Array]:
    weights = np.swapaxes(op.w != 0, -1, -2).astype(np.float32)
    yield _onto(wanted.astype(np.float32) @ weights > 0, op.x.shape)


def _convolved(op: Conv, wanted: Array) -> Iterator[Array]:
    """By channels and places apart, which may need some more than they do together."""
    w = op.w != 0
    outputs = wanted.any((0, *range(2, wanted.ndim)))
    read = w.any(tuple(range(2, w.ndim))) & outputs[:, None]
    channels = read.reshape(op.group, -1, w.shape[1]).any(1).reshape(-1)
    places = np.zeros(op.x.shape[2:], bool)
    reached = wanted.any((0, 1))
    strides = op.strides or (1,) * reached.ndim
    dilations = op.dilations or (1,) * reached.ndim
    for tap in np.argwhere(w.any((0, 1))):
        starts = tap * np.array(dilations)
        ends = starts + (np.array(reached.shape) - 1) * strides + 1
        places[tuple(map(slice, starts, ends, strides))] |= reached
    shape = (-1, *(1,) * reached.ndim)
    yield np.broadcast_to(channels.reshape(shape) & places, op.x.shape)


def _moved(op: Movement, wanted: Array) -> Iterator[Array]:
    if isinstance(op, Pad):
        starts = zip(op.before, op.x.shape, strict=True)
        yield wanted[tuple(slice(start, start + size) for start, size in starts)]
        return
    indices = op.move(np.arange(op.x.int_type.size).reshape(op.x.shape))
    mask = np.zeros(op.x.int_type.size, bool)
    mask[indices[wanted]] = True
    yield mask.reshape(op.x.shape)


def _joined(op: Concat, wanted: Array) -> Iterator[Array]:
    ends = np.cumsum([value.shape[op.axis] for value in op.operands])[:-1]
    yield from np.split(wanted, ends, op.axis)


READS: dict[type[Op], Callable[[Any, Array], Iterator[Array]]] = {
    **dict.fromkeys((Add, AddClear, Assume, Max, Mul, Neg, Round, Sub), _same),
    Concat: _joined,
    Conv: _convolved,
    Lookup: _looked_up,
    MatMul: _multiplied,
    Movement: _moved,
    MulClear: _scaled,
    Sum: _added_up,
}
"""Which elements of an operation's operands those of its result need that are needed themselves."""
