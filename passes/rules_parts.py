"""Canonicalization rules of the integer level: layers compute what is read, and read what counts.

Where elements are left out, put in order or added as constants around a layer, its weights can do
that: fewer numbers are multiplied, and nothing stands between a layer and its look-ups. All are
exact; claims of ranges (`assume`) are no longer made of elements that nothing reads.
"""

from __future__ import annotations

import numpy as np

from lutra.ir.core import Op, Value
from lutra.ir.ops import AddClear, Assume, Conv, Gather, MatMul, Movement, Pad, Reshape, Slice
from lutra.ir.rewriter import Rewriter
from lutra.ir.types import Array, Ints, compress
from lutra.passes.rules import Outcome, no


def _selects(op: Gather | Slice) -> bool:
    """Whether no element is repeated."""
    return isinstance(op, Slice) or np.unique(op.indices).size == op.indices.size


def _merge(outer: Op, inner: Op, layer: Op, new: Value, rw: Rewriter) -> None:
    """Put a detached value in the place of outer(inner(x)), one of which is the layer.

    It is called as the layer was: the names of movements and constants around it are no part of it.
    """
    rw.insert(new.owner, before=outer, loc=layer.loc)
    rw.replace_uses(outer.result, new)
    rw.erase(outer)
    rw.erase(inner)


def _selected(move: Movement, axis: int) -> Ints | None:
    """Which places along an axis a movement takes, None where it does anything else."""
    shape = move.x.shape
    every = np.arange(move.x.size).reshape(shape)
    moved = move.move(every)
    if moved.ndim != len(shape) or not moved.size:
        return None
    count = moved.shape[axis]
    which = np.unravel_index(np.moveaxis(moved, axis, 0).reshape(count, -1)[:, 0], shape)[axis]
    return which if np.array_equal(moved, every.take(which, axis)) else None


# --- what is read of a layer ---------------------------------------------------------------------
def selection_before_term(op: Gather | Slice, rw: Rewriter) -> Outcome:
    """gather(x + c) -> gather(x) + gather(c), and slices alike"""
    inner = op.x.owner
    if not (isinstance(inner, AddClear) and op.x.used_once and _selects(op)):
        return no("it repeats elements, or selects of no sum used only here")
    moved = op.copy({op.x: inner.x})
    _merge(op, inner, inner, AddClear(moved.result, compress(op.move(inner.c))).result, rw)
    return None


def selection_before_assume(op: Gather | Slice, rw: Rewriter) -> Outcome:
    """gather(assume(x, lo, hi)) -> assume(gather(x), gather(lo), gather(hi)), and slices alike"""
    inner = op.x.owner
    if not (isinstance(inner, Assume) and op.x.used_once and _selects(op)):
        return no("it repeats elements, or selects of no assumption used only here")
    lo, hi = (compress(op.move(bound)) for bound in (inner.lo, inner.hi))
    moved = op.copy({op.x: inner.x})
    _merge(op, inner, inner, Assume(moved.result, lo, hi).result, rw)
    return None


def columns_of_matmul(op: Gather | Slice, rw: Rewriter) -> Outcome:
    """gather(x @ w) -> x @ w', where columns are left out or put in order, and slices alike"""
    inner = op.x.owner
    if not (isinstance(inner, MatMul) and op.x.used_once and _selects(op)):
        return no("it repeats elements, or selects of no matmul used only here")
    which = _selected(op, len(op.x.shape) - 1)
    if which is None:
        return no("it selects other than columns")
    _merge(op, inner, inner, MatMul(inner.x, inner.w[..., which]).result, rw)
    return None


def channels_of_conv(op: Gather | Slice, rw: Rewriter) -> Outcome:
    """gather(conv(x, w)) -> conv(x, w'), where channels are left out or put in order"""
    inner = op.x.owner
    if not (isinstance(inner, Conv) and op.x.used_once and _selects(op)):
        return no("it repeats elements, or selects of no conv used only here")
    which = _selected(op, 1)
    if inner.group != 1 or which is None:
        return no("it selects other than channels, or these have groups")
    attributes = (inner.strides, inner.dilations, inner.group)
    _merge(op, inner, inner, Conv(inner.x, inner.w[which], *attributes).result, rw)
    return None


def places_of_conv(op: Slice, rw: Rewriter) -> Outcome:
    """conv(x)[..., :h, :w] -> conv(x[..., :h', :w']), of what its windows reach"""
    inner = op.x.owner
    if not isinstance(inner, Conv) or not op.x.used_once:
        return no("it slices no conv used only here")
    if any(op.starts) or any(step != 1 for step in op.steps):
        return no("it does not begin at the first element or skips some")
    shape = op.result.shape
    if shape[:2] != op.x.shape[:2] or shape == op.x.shape:
        return no("it leaves out other than places")
    read = tuple(
        (n - 1) * stride + extent
        for n, stride, extent in zip(shape[2:], inner.strides, inner.extent, strict=True)
    )
    stops = (*inner.x.shape[:2], *read)
    part = Slice(inner.x, op.starts, stops, op.steps)
    _merge(op, inner, inner, inner.copy({inner.x: part.result}).result, rw)
    return None


# --- what a layer reads --------------------------------------------------------------------------
def term_into_layer(op: MatMul | Conv, rw: Rewriter) -> Outcome:
    """(x + c) @ w -> x @ w + c @ w, and conv(x + c, w) alike"""
    inner = op.x.owner
    if not isinstance(inner, AddClear) or not op.x.used_once:
        return no("its operand is no sum with clear integers that is used only here")
    term = op.eval(np.broadcast_to(inner.c, op.x.shape)[None])[0]
    layer = op.copy({op.x: inner.x})
    _merge(op, inner, op, AddClear(layer.result, compress(term)).result, rw)
    return None


def movement_into_matmul(op: MatMul, rw: Rewriter) -> Outcome:
    """move(x) @ w -> reshape(x) @ w' + c, for one row: rows of w are put in order instead"""
    inner = op.x.owner
    move = inner.x.owner if isinstance(inner, Reshape) and inner.x.used_once else inner
    if not isinstance(move, Movement) or isinstance(move, Reshape) or not op.x.used_once:
        return no("its operand is no movement of elements used only here")
    row, size = op.x.shape, move.x.size
    if op.w.ndim != 2 or row[-1] != op.x.size or size > row[-1]:
        return no("not one row, made of no more elements than it has")
    sources = _sources(move)
    w = np.zeros((size, op.w.shape[-1]), np.int64)
    np.add.at(w, sources[sources >= 0], op.w[sources >= 0])
    value = MatMul(Reshape(move.x, (*row[:-1], size)).result, w).result
    if isinstance(move, Pad) and move.value:
        value = AddClear(value, move.value * op.w[sources < 0].sum(0)).result
    _merge(op, inner, op, value, rw)
    return None


def _sources(move: Movement) -> Ints:
    """Which element of x each one of the result is, row by row; -1 for what is padded."""
    every = np.arange(move.x.size).reshape(move.x.shape)
    if isinstance(move, Pad):
        every = np.pad(every, [*zip(move.before, move.after, strict=True)], constant_values=-1)
        return every.reshape(-1)
    return move.move(every).reshape(-1)


def columns_into_matmul(op: MatMul, rw: Rewriter) -> Outcome:
    """gather(x) @ w -> x @ w', where columns of x are put in order: the rows of w instead"""
    inner = op.x.owner
    if not isinstance(inner, Gather | Slice) or not op.x.used_once:
        return no("its operand is no selection used only here")
    which = _selected(inner, len(op.x.shape) - 1) if inner.x.shape[:-1] == op.x.shape[:-1] else None
    if which is None:
        return no("its operand is not made of columns of another value")
    w = np.zeros((*op.w.shape[:-2], inner.x.shape[-1], op.w.shape[-1]), np.int64)
    np.add.at(np.moveaxis(w, -2, 0), which, np.moveaxis(op.w, -2, 0))
    _merge(op, inner, op, MatMul(inner.x, w).result, rw)
    return None


def pad_into_matmul(op: MatMul, rw: Rewriter) -> Outcome:
    """pad(x) @ w -> x @ w', where columns of 0 are put beside x: without their rows of w"""
    inner = op.x.owner
    if not isinstance(inner, Pad) or not op.x.used_once:
        return no("its operand is no pad used only here")
    if inner.value or any(inner.before[:-1] + inner.after[:-1]):
        return no("it pads with other than columns of 0")
    start = inner.before[-1]
    rows = op.w[..., start : start + inner.x.shape[-1], :]
    _merge(op, inner, op, MatMul(inner.x, rows).result, rw)
    return None


def channels_into_conv(op: Conv, rw: Rewriter) -> Outcome:
    """conv(gather(x), w) -> conv(x, w'), where channels of x are put in order or padded with 0"""
    inner = op.x.owner
    if not isinstance(inner, Gather | Slice | Pad) or not op.x.used_once or op.group != 1:
        return no("its operand is no selection or padding used only here, or has groups")
    if isinstance(inner, Pad):
        others = (i != 1 for i in range(len(inner.before)))
        spread = zip(others, inner.before, inner.after, strict=True)
        if inner.value or any(other and (a or b) for other, a, b in spread):
            return no("it pads with other than channels of 0")
        which: Array | None = np.pad(
            np.arange(inner.x.shape[1]), (inner.before[1], inner.after[1]), constant_values=-1
        )
    else:
        which = _selected(inner, 1)
    if which is None:
        return no("its operand is not made of channels of another value")
    w = np.zeros((len(op.w), inner.x.shape[1], *op.w.shape[2:]), np.int64)
    np.add.at(np.moveaxis(w, 1, 0), which[which >= 0], np.moveaxis(op.w, 1, 0)[which >= 0])
    _merge(op, inner, op, Conv(inner.x, w, op.strides, op.dilations).result, rw)
    return None


def pad_beyond_windows(op: Conv, rw: Rewriter) -> Outcome:
    """conv(pad(x)) -> conv(pad'(x)), without the padding behind that no window reaches"""
    inner = op.x.owner
    if not isinstance(inner, Pad) or not op.x.used_once:
        return no("its operand is no pad used only here")
    spread = zip(op.result.shape[2:], op.strides, op.extent, strict=True)
    reached = ((n - 1) * stride + extent for n, stride, extent in spread)
    spare = [
        min(a, n - r) for a, n, r in zip(inner.after[2:], op.x.shape[2:], reached, strict=True)
    ]
    if not any(spare):
        return no("windows reach all of it")
    after = (*inner.after[:2], *(a - s for a, s in zip(inner.after[2:], spare, strict=True)))
    padded = Pad(inner.x, inner.before, after, inner.value)
    _merge(op, inner, op, op.copy({op.x: padded.result}).result, rw)
    return None


def reshape_selection(op: Reshape, rw: Rewriter) -> Outcome:
    """reshape(gather(x)) -> gather(x) of that shape"""
    inner = op.x.owner
    if not isinstance(inner, Gather) or not op.x.used_once:
        return no("its operand is no gather used only here")
    rw.replace(op, Gather(inner.x, inner.indices.reshape(op.shape)))
    return None


def merge_pads(op: Pad, rw: Rewriter) -> Outcome:
    """pad(pad(x, v), v) -> pad(x, v)"""
    inner = op.x.owner
    if not isinstance(inner, Pad) or not op.x.used_once or inner.value != op.value:
        return no("its operand is no padding with the same value used only here")
    before = tuple(a + b for a, b in zip(inner.before, op.before, strict=True))
    after = tuple(a + b for a, b in zip(inner.after, op.after, strict=True))
    rw.replace(op, Pad(inner.x, before, after, op.value))
    return None


def merge_slices(op: Slice, rw: Rewriter) -> Outcome:
    """x[a][b] -> x[a + b], of slices that skip nothing"""
    inner = op.x.owner
    if not isinstance(inner, Slice) or not op.x.used_once:
        return no("its operand is no slice used only here")
    if any(step != 1 for step in inner.steps + op.steps) or min(inner.starts + op.starts) < 0:
        return no("elements are skipped, or counted from the end")
    starts = tuple(a + b for a, b in zip(inner.starts, op.starts, strict=True))
    stops = tuple(a + n for a, n in zip(starts, op.result.shape, strict=True))
    rw.replace(op, Slice(inner.x, starts, stops, op.steps))
    return None


PARTS_RULES = (
    selection_before_term,
    selection_before_assume,
    columns_of_matmul,
    channels_of_conv,
    places_of_conv,
    term_into_layer,
    columns_into_matmul,
    pad_into_matmul,
    movement_into_matmul,
    channels_into_conv,
    pad_beyond_windows,
    reshape_selection,
    merge_pads,
    merge_slices,
)
