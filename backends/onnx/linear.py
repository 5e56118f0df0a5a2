"""Levelled integer operations, all in int64."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from lutra.backends.onnx.builder import Builder, Emission
from lutra.ir import ops
from lutra.ir.arith import conv_windows
from lutra.ir.core import Op

Pair: TypeAlias = ops.Add | ops.Max | ops.Mul | ops.Sub


def elementwise(op_type: str) -> Callable[[Builder, Pair], str]:
    """An operation of two encrypted values that broadcast."""

    def emit(b: Builder, op: Pair) -> str:
        rank = len(op.result.shape)
        return b.node(op_type, *(b.read(value, rank) for value in (op.x, op.y)))

    return emit


def matmul(b: Builder, op: ops.MatMul) -> str:
    return b.node("MatMul", b.read(op.x), b.constant(op.w))


def matmul_values(b: Builder, op: ops.MatMulValues) -> str:
    rank = len(op.result.shape)
    return b.node("MatMul", b.read(op.x, rank), b.read(op.y, rank))


def conv(b: Builder, op: ops.Conv) -> str:
    """One matrix product per group: onnxruntime convolves no int64.

    The kernel's taps become rows [C/group * prod(kernel), positions] by an index map.
    """
    count, channels, *space = op.x.shape
    positions = op.result.shape[2:]
    grid = np.arange(int(np.prod(space))).reshape(1, 1, *space)
    windows = conv_windows(grid, op.w.shape[2:], op.strides, op.dilations)
    taps = windows.reshape(int(np.prod(positions)), -1).T
    flat = b.reshape(b.read(op.x), (count, channels, grid.size))
    columns = b.node("Gather", flat, b.constant(taps), axis=b.lead + 2)
    width = op.w.shape[1] * taps.shape[0]
    columns = b.reshape(columns, (count, op.group, width, taps.shape[1]))
    kernels = b.constant(op.w.reshape(op.group, -1, width))
    return b.reshape(b.node("MatMul", kernels, columns), (count, op.w.shape[0], *positions))


def neg(b: Builder, op: ops.Neg) -> str:
    return b.node("Neg", b.read(op.x))


def add_clear(b: Builder, op: ops.AddClear) -> str:
    return b.node("Add", b.read(op.x), b.constant(op.c))


def mul_clear(b: Builder, op: ops.MulClear) -> str:
    return b.node("Mul", b.read(op.x), b.constant(op.c))


def halve(b: Builder, op: ops.Halve) -> str:
    x = b.read(op.x)
    odd = b.node("BitwiseAnd", x, b.scalar(1))
    return b.node("Div", b.node("Sub", x, odd), b.scalar(2))


def sum_(b: Builder, op: ops.Sum) -> str:
    axes = b.ints([axis + b.lead for axis in op.axes])
    return b.node(
        "ReduceSum", b.read(op.x), axes, keepdims=int(op.keepdims), noop_with_empty_axes=1
    )


def int_constant(b: Builder, op: ops.IntConstant) -> str:
    value = b.constant(op.value.reshape((1,) * b.lead + op.value.shape))
    if not (b.lead and b.samples):
        return b.node("Identity", value)
    ones = b.ints([1] * op.value.ndim)
    return b.node("Expand", value, b.node("Concat", b.samples, ones, axis=0))


def input_(b: Builder, op: Op) -> str:
    return b.names[op.result]


def assume(b: Builder, op: ops.Assume) -> str:
    return b.node("Identity", b.read(op.x))


LINEAR: dict[type[Op], Emission] = {
    ops.Add: elementwise("Add"),
    ops.AddClear: add_clear,
    ops.Assume: assume,
    ops.Conv: conv,
    ops.Halve: halve,
    ops.IntConstant: int_constant,
    ops.MatMul: matmul,
    ops.MatMulValues: matmul_values,
    ops.MulClear: mul_clear,
    ops.Neg: neg,
    ops.Sub: elementwise("Sub"),
    ops.Sum: sum_,
}
