"""Emission of the operations that compute nothing."""

from __future__ import annotations

import numpy as np

from lutra.backends.concrete.emitter import Emission, Emitter
from lutra.backends.concrete.mlir import Ref
from lutra.ir import ops
from lutra.ir.core import Op


def reshape(e: Emitter, op: ops.Reshape) -> Ref:
    return e.shaped(e.read(op.x, op), op.result)


def transpose(e: Emitter, op: ops.Transpose) -> Ref:
    x = e.read(op.x, op)
    return e.writer.transpose(x, op.perm) if op.perm else x


def slice_(e: Emitter, op: ops.Slice) -> Ref:
    x = e.read(op.x, op)
    return e.writer.slice(x, op.slices) if op.slices else x


def gather(e: Emitter, op: ops.Gather) -> Ref:
    flat = e.writer.reshape(e.read(op.x, op), (op.x.int_type.size,))
    return e.writer.gather(flat, op.indices)


def pad(e: Emitter, op: ops.Pad) -> Ref:
    x = e.read(op.x, op)
    if not any(op.before + op.after):
        return x
    frame = e.writer.constant(op.result.shape, np.array([op.value]), x.bits)
    return e.writer.insert(x, frame, op.before)


def int_constant(e: Emitter, op: ops.IntConstant) -> Ref:
    return e.writer.constant(op.result.shape or (1,), op.value, e.bits[op.result])


def concat(e: Emitter, op: ops.Concat) -> Ref:
    return e.writer.concat([e.read(x, op) for x in op.xs], op.axis)


def broadcast(e: Emitter, op: ops.Broadcast) -> Ref:
    return e.writer.broadcast(e.read(op.x, op), op.result.shape or (1,))


def assume(e: Emitter, op: ops.Assume) -> Ref:
    return e.read(op.x, op)


MOVEMENT: dict[type[Op], Emission] = {
    ops.Assume: assume,
    ops.Broadcast: broadcast,
    ops.Concat: concat,
    ops.Gather: gather,
    ops.IntConstant: int_constant,
    ops.Pad: pad,
    ops.Reshape: reshape,
    ops.Slice: slice_,
    ops.Transpose: transpose,
}
