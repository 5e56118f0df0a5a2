"""Emission of the levelled operations: no bootstrap."""

from __future__ import annotations

from collections.abc import Sequence

from lutra.backends.concrete.emitter import Emission, Emitter
from lutra.backends.concrete.mlir import Ref, Writer
from lutra.ir import ops
from lutra.ir.core import Op
from lutra.ir.types import Ints


def add(e: Emitter, op: ops.Add) -> Ref:
    parted = e.parted(op)
    if parted:
        return e.writer.add_clear(*parted)
    return e.writer.add(e.read(op.x, op), e.read(op.y, op))


def sub(e: Emitter, op: ops.Sub) -> Ref:
    if op.y in e.clear:
        return e.writer.sub_clear(e.read(op.x, op), e.clear[op.y])
    if op.x in e.clear:
        return e.writer.add_clear(e.writer.neg(e.read(op.y, op)), e.clear[op.x])
    return e.writer.sub(e.read(op.x, op), e.read(op.y, op))


def neg(e: Emitter, op: ops.Neg) -> Ref:
    return e.writer.neg(e.read(op.x, op))


def add_clear(e: Emitter, op: ops.AddClear) -> Ref:
    return e.writer.add_clear(e.read(op.x, op), op.c)


def mul_clear(e: Emitter, op: ops.MulClear) -> Ref:
    return e.writer.mul_clear(e.read(op.x, op), op.c)


def halve(e: Emitter, op: ops.Halve) -> Ref:
    """An even integer in w + 1 bits is its half in w bits."""
    bits = e.bits[op.result]
    return e.writer.reinterpret(e.writer.keep_low(e.ref(op.x), bits + 1), bits)


def sum_(e: Emitter, op: ops.Sum) -> Ref:
    x = e.read(op.x, op)
    return e.shaped(e.writer.sum(x, op.axes) if op.axes else x, op.result)


def matmul(e: Emitter, op: ops.MatMul) -> Ref:
    x = e.read(op.x, op)
    rows = e.writer.reshape(x, (1, *x.shape)) if len(x.shape) == 1 else x
    return e.shaped(e.writer.matmul(rows, op.w), op.result)


def matmul_values(e: Emitter, op: ops.MatMulValues) -> Ref:
    if op.x in e.clear:
        return e.writer.matmul_from_left(e.clear[op.x], e.read(op.y, op))
    return e.writer.matmul(e.read(op.x, op), e.clear[op.y])


def conv(e: Emitter, op: ops.Conv) -> Ref:
    space = op.w.ndim - 2
    x, w, strides, dilations = e.read(op.x, op), op.w, op.strides, op.dilations
    if space == 1:  # as 2-d, of height 1
        x = e.writer.reshape(x, (*x.shape[:2], 1, x.shape[2]))
        w, strides, dilations = w[:, :, None], (1, *strides), (1, *dilations)
    elif space == 3:
        x, w = _depth_to_channels(e.writer, x, w, strides[0], dilations[0]), _fold_taps(w)
        strides, dilations = strides[1:], dilations[1:]
    y = e.writer.conv2d(x, w, strides, dilations, op.group)
    if space == 3:  # [N * D, O, H, W] -> [N, O, D, H, W]
        n, o, d, *rest = op.result.shape
        y = e.writer.transpose(e.writer.reshape(y, (n, d, o, *rest)), (0, 2, 1, 3, 4))
    return e.shaped(y, op.result)


def _fold_taps(w: Ints) -> Ints:
    """[O, C, KD, KH, KW] -> [O, C * KD, KH, KW]."""
    return w.reshape(w.shape[0], -1, *w.shape[3:])


def _depth_to_channels(writer: Writer, x: Ref, w: Ints, stride: int, dilation: int) -> Ref:
    """x [N, C, D, H, W] as [N * out, C * KD, H, W]: output depths to samples, taps to channels."""
    n, c, depth, *plane = x.shape
    taps = w.shape[2]
    out = (depth - (taps - 1) * dilation - 1) // stride + 1
    windows = []
    for tap in range(taps):
        first = tap * dilation
        part = slice(first, first + (out - 1) * stride + 1, stride)
        window = writer.slice(x, _along(2, part, len(x.shape)))
        window = writer.transpose(window, (0, 2, 1, 3, 4))  # [N, out, C, H, W]
        windows.append(writer.reshape(window, (n * out, c, 1, *plane)))
    return writer.reshape(writer.concat(windows, 2), (n * out, c * taps, *plane))


def _along(axis: int, part: slice, rank: int) -> Sequence[slice]:
    return [part if i == axis else slice(None) for i in range(rank)]


LINEAR: dict[type[Op], Emission] = {
    ops.Add: add,
    ops.AddClear: add_clear,
    ops.Conv: conv,
    ops.Halve: halve,
    ops.MatMul: matmul,
    ops.MatMulValues: matmul_values,
    ops.MulClear: mul_clear,
    ops.Neg: neg,
    ops.Sub: sub,
    ops.Sum: sum_,
}
