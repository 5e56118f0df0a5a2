"""Operations that move elements."""

from __future__ import annotations

from lutra.backends.onnx.builder import Builder, Emission
from lutra.ir import ops
from lutra.ir.core import Op


def reshape(b: Builder, op: ops.Reshape) -> str:
    return b.reshape(b.read(op.x), op.shape)


def transpose(b: Builder, op: ops.Transpose) -> str:
    if not op.perm:
        return b.node("Identity", b.read(op.x))
    perm = [*range(b.lead), *(axis + b.lead for axis in op.perm)]
    return b.node("Transpose", b.read(op.x), perm=perm)


def slice_(b: Builder, op: ops.Slice) -> str:
    if not op.starts:
        return b.node("Identity", b.read(op.x))
    axes = range(b.lead, b.lead + len(op.starts))
    parts = (b.ints(part) for part in (op.starts, op.stops, list(axes), op.steps))
    return b.node("Slice", b.read(op.x), *parts)


def gather(b: Builder, op: ops.Gather) -> str:
    flat = b.reshape(b.read(op.x), (-1,))
    return b.node("Gather", flat, b.constant(op.indices), axis=b.lead)


def pad(b: Builder, op: ops.Pad) -> str:
    if not op.before:
        return b.node("Identity", b.read(op.x))
    widths = [*[0] * b.lead, *op.before, *[0] * b.lead, *op.after]
    return b.node("Pad", b.read(op.x), b.ints(widths), b.scalar(op.value))


def broadcast(b: Builder, op: ops.Broadcast) -> str:
    ones = b.ints([1] * b.lead + list(op.shape))
    return b.node("Expand", b.read(op.x, len(op.shape)), ones)


def concat(b: Builder, op: ops.Concat) -> str:
    return b.node("Concat", *(b.read(value) for value in op.xs), axis=op.axis + b.lead)


MOVEMENT: dict[type[Op], Emission] = {
    ops.Broadcast: broadcast,
    ops.Concat: concat,
    ops.Gather: gather,
    ops.Pad: pad,
    ops.Reshape: reshape,
    ops.Slice: slice_,
    ops.Transpose: transpose,
}
