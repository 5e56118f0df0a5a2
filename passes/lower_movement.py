"""Integer forms of operators that move elements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lutra.ir.core import Value
from lutra.ir.ops import (
    Broadcast,
    Concat,
    Constant,
    Dequantize,
    Gather,
    Movement,
    Onnx,
    Pad,
    Reshape,
    Slice,
    Transpose,
    constant_of,
    scalar_of,
)
from lutra.ir.types import Array, Ints, Shape, Tensor
from lutra.passes.affine import dequantized, folded
from lutra.passes.lower_linear import Lowering

RESHAPES = ("Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")


def lower_movement(op: Onnx) -> Sequence[Dequantize] | None:
    """move(dequantize(q)) -> dequantize(move(q)), scales moving with their elements"""
    x = dequantized(op.input(0))
    return None if x is None else moved(op, x)


def moved(op: Onnx, x: Dequantize) -> list[Dequantize]:
    """A structural node's results for x as its first operand, detached: `movement`s of x.q."""
    return [_moved(move, x) for move in _moves(op, x.q)]


def _moves(op: Onnx, x: Value) -> list[Movement]:
    shapes = [result.shape for result in op.results]
    if op.op_type in RESHAPES:
        return [Reshape(x, shapes[0])]
    if op.op_type == "Transpose":
        perm = op.attrs.get("perm") or range(len(x.shape))[::-1]
        return [Transpose(x, tuple(perm))]
    if op.op_type == "Expand":
        return [Broadcast(x, shapes[0])]
    return [movement_of(x, indices) for indices in index_maps(op, x.shape)]


def index_maps(op: Onnx, shape: Shape) -> list[Ints]:
    """Which element of the operand each element of the results is: the node run on an index."""
    index = np.arange(np.prod(shape, dtype=np.int64)).reshape(shape)
    if op.op_type in ("DepthToSpace", "Resize", "SpaceToDepth"):
        index = index.astype(np.float32)  # onnxruntime has these for floats only; exact below 2^24
    parameters = [constant_of(value) for value in op.inputs[1:]]
    clear = (None if array is None else Constant(array).result for array in parameters)
    types = tuple(Tensor(value.shape, index.dtype.name) for value in op.results)
    twin = Onnx((Constant(index).result, *clear), op.op_type, types, op.attrs)
    return [result.astype(np.int64) for result in folded(twin)]


def movement_of(x: Value, indices: Ints) -> Movement:
    """The plainest operation with this index map: a reshape, a slice, or a gather."""
    size = int(np.prod(x.shape, dtype=np.int64))
    if indices.size == size and (indices.reshape(-1) == np.arange(size)).all():
        return Reshape(x, indices.shape)
    if indices.ndim == len(x.shape) and indices.size:
        where = np.unravel_index(indices, x.shape)
        starts, stops, steps = [], [], []
        for axis, count in enumerate(indices.shape):
            along = np.moveaxis(where[axis], axis, 0).reshape(count, -1)[:, 0]
            step = int(along[1] - along[0]) if count > 1 else 1
            starts.append(int(along[0]))
            steps.append(step or 1)
            stop = int(along[0]) + count * (step or 1)
            stops.append(stop if stop >= 0 else -x.shape[axis] - 1)
        part = Slice(x, tuple(starts), tuple(stops), tuple(steps))
        if part.result.shape == indices.shape:
            reached = part.eval(np.arange(size).reshape(1, *x.shape))[0]
            if np.array_equal(reached, indices):
                return part
    return Gather(x, indices)


def _moved(move: Movement, x: Dequantize) -> Dequantize:
    scale, zero_point, offset = (
        array.reshape(()) if array.size == 1 else move.move(array)
        for array in (x.scale, x.zero_point, x.offset)
    )
    return Dequantize(move.result, scale, zero_point, offset)


def lower_pad(op: Onnx) -> Sequence[Dequantize] | None:
    """Pad(dequantize(q), v) -> dequantize(pad(q, z)), with z the integer that stands for v"""
    x, amounts = dequantized(op.input(0)), constant_of(op.input(1))
    if x is None or amounts is None:
        return None
    if op.attrs.get("mode", "constant") != "constant":
        return lower_movement(op)
    rank = len(x.q.shape)
    before, after = np.zeros(rank, int), np.zeros(rank, int)
    axes = constant_of(op.input(3))
    where = np.arange(rank) if axes is None else np.asarray(axes) % rank
    before[where], after[where] = np.split(amounts, 2)
    if (before < 0).any() or (after < 0).any():
        return None
    value = scalar_of(op.input(2)) or 0.0
    widths = tuple(map(int, before)), tuple(map(int, after))
    fill = _stands_for(value, x)
    if fill is not None:
        padded = Pad(x.q, *widths, fill)
        return [Dequantize(padded.result, x.scale, x.zero_point, x.offset)]
    # No integer stands for it: the integers are padded by 0, their zero point by 0, the offset
    # by the value itself; the scale may be any.
    pairs = list(zip(*widths, strict=True))
    scale, zero_point, offset = (
        np.broadcast_to(array, x.q.shape) for array in (x.scale, x.zero_point, x.offset)
    )
    return [
        Dequantize(
            Pad(x.q, *widths, 0).result,
            np.pad(scale, pairs, mode="edge"),
            np.pad(zero_point, pairs),
            np.pad(offset, pairs, constant_values=value),
        )
    ]


def _stands_for(value: float, x: Dequantize) -> int | None:
    """The integer whose dequantized value is `value`, if there is one for all elements."""
    if any(array.size > 1 for array in (x.scale, x.zero_point, x.offset)) or not x.scale.all():
        return None
    steps = (value - float(x.offset.reshape(()))) / float(x.scale.reshape(()))
    nearest = round(steps)
    if abs(nearest) >= 2**30 or abs(steps - nearest) > 1e-3:
        return None
    return int(x.zero_point.reshape(())) + nearest


def lower_concat(op: Onnx) -> Sequence[Dequantize] | None:
    """Concat(dequantize(q), ...) -> dequantize(concat(q, ...)), each part with its own scale"""
    parts = [dequantized(value) for value in op.inputs]
    if any(part is None for part in parts):
        return None
    values = [part for part in parts if part is not None]
    axis = op.attrs["axis"] % len(values[0].q.shape)
    concat = Concat(tuple(value.q for value in values), axis)

    def joined(arrays: list[Array]) -> Array:
        same = all(array.size == 1 and (array == arrays[0]).all() for array in arrays)
        return arrays[0] if same else concat.join(arrays)

    return [
        Dequantize(
            concat.result,
            joined([value.scale for value in values]),
            joined([value.zero_point for value in values]),
            joined([value.offset for value in values]),
        )
    ]


MOVEMENT_LOWERINGS: dict[str, Lowering] = {
    **dict.fromkeys(RESHAPES, lower_movement),
    **dict.fromkeys(("DepthToSpace", "Expand", "Gather", "GatherElements"), lower_movement),
    **dict.fromkeys(
        ("GatherND", "Resize", "Slice", "SpaceToDepth", "Split", "Tile"), lower_movement
    ),
    "Concat": lower_concat,
    "Pad": lower_pad,
    "Transpose": lower_movement,
}
