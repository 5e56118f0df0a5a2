"""Quantized graphs as models of floats on grids, in a format that other tools read.

Where Lutra computes on integers, such a model computes on floats that stand for them. Layers keep
the scales of what they read, and get those of what reads them; where integers of different grids
meet, they are computed as such.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

from lutra.backends.onnx.batch import has_batch, takes_batches
from lutra.backends.onnx.builder import Builder, Emission, cast
from lutra.backends.onnx.emission import Samples, model_of
from lutra.backends.onnx.floats import constant, observe, onnx_node
from lutra.backends.onnx.forms import FORMS, INTEGERS, Form, Grid, axes_of
from lutra.backends.onnx.linear import LINEAR, input_
from lutra.backends.onnx.movement import MOVEMENT
from lutra.backends.onnx.tables import TABLES
from lutra.ir import ops
from lutra.ir.core import Graph, Input, Op, Return, Value
from lutra.ir.types import Array, Int, Ints, compress

ONE = np.array(1.0)


class QuantizedBuilder(Builder):
    """Writes integers as floats on the grids that it keeps.

    exact: whether they are read as the integers themselves.
    """

    def __init__(self, form: Form) -> None:
        super().__init__(0)
        self.form = form
        self.grids: dict[Value, Grid] = {}
        self.exact = False
        self._integers: dict[Value, str] = {}

    def read(self, value: Value, rank: int | None = None) -> str:
        name = super().read(value, rank)
        return self.integer(value) if self.exact and value in self.grids else name

    def operand(self, value: Value) -> tuple[str, Grid]:
        """A value on a grid that all its elements share."""
        grid = self.grids[value]
        if grid.uniform:
            return self.read(value), grid
        return self.integer(value), INTEGERS

    def integer(self, value: Value) -> str:
        """The integers themselves, as floats."""
        name, grid = self.names[value], self.grids[value]
        if grid is INTEGERS:
            return name
        if value not in self._integers:
            steps = self.node("Div", name, self.constant(grid.scale.astype(np.float32)))
            if grid.zero.any():
                steps = self.node("Add", steps, self.constant(grid.zero.astype(np.float32)))
            self._integers[value] = self.node("Round", steps)
        return self._integers[value]


def quantized_model(graph: Graph, form: str) -> onnx.ModelProto:
    """A graph whose float regions are no look-ups yet, in one of the formats `FORMS`.

    The first axis is left open where it is a batch of one, as of `client_model`. Error B002 where
    an operation has no such form.
    """

    def written(name: str, samples: Samples) -> onnx.ModelProto:
        return model_of(graph, samples, QuantizedBuilder(FORMS[name]()), QUANTIZED)

    open_axis = has_batch(graph) and takes_batches(written("qdq", "first"), graph)
    return written(form, "first" if open_axis else "none")


# --- between floats and integers ----------------------------------------------------------------
def quantize(b: QuantizedBuilder, op: ops.Quantize) -> str:
    name, b.grids[op.result] = b.form.quantize(b, b.read(op.x), op)
    return name


def dequantize(b: QuantizedBuilder, op: ops.Dequantize) -> str:
    """Floats on another grid: (q - zero_point) * scale + offset of (q - zero) * scale."""
    source = op.q.owner
    if isinstance(source, ops.IntConstant):
        return _constant(b, source.value, op)
    grid = b.grids[op.q]
    x = b.read(op.q)
    ratio = op.scale.astype(np.float64) / grid.scale
    if not np.allclose(ratio, 1, rtol=1e-6):
        x = b.node("Mul", x, b.constant(ratio.astype(np.float32)))
    shift = (grid.zero - op.zero_point) * op.scale.astype(np.float64) + op.offset
    return b.node("Add", x, b.constant(shift.astype(np.float32))) if shift.any() else x


def _constant(b: QuantizedBuilder, integers: Ints, op: ops.Dequantize) -> str:
    """Dequantized weights, and the like."""
    centred = integers - op.zero_point
    if len(axes_of(integers.ndim, op.scale)) < 2 and (op.scale > 0).all() and not op.offset.any():
        return b.form.weights(b, centred, op.scale)
    return b.constant(op.eval(integers[None])[0])


def int_constant(b: QuantizedBuilder, op: ops.IntConstant) -> str:
    b.grids[op.result] = INTEGERS
    return b.constant(op.value.astype(np.float32))


# --- layers -------------------------------------------------------------------------------------
def matmul(b: QuantizedBuilder, op: ops.MatMul) -> str:
    x, grid = b.operand(op.x)
    scale = _scale(op, len(op.result.shape) - 1, grid) if op.w.ndim == 2 else ONE
    weights = b.form.weights(b, op.w, scale.reshape(-1) if scale.size > 1 else scale)
    b.grids[op.result] = Grid(grid.scale.reshape(()) * scale, grid.zero.reshape(()) * op.w.sum(-2))
    return b.node("MatMul", x, weights)


def conv(b: QuantizedBuilder, op: ops.Conv) -> str:
    x, grid = b.operand(op.x)
    scale, rest = _scale(op, 1, grid), (1,) * (op.w.ndim - 2)
    shape = (-1, 1, *rest) if scale.size > 1 else ()
    weights = b.form.weights(b, op.w, scale.reshape(shape))
    sums = op.w.reshape(len(op.w), -1).sum(1).reshape(-1, *rest)
    b.grids[op.result] = Grid(grid.scale.reshape(()) * scale, grid.zero.reshape(()) * sums)
    attributes = {"strides": op.strides, "dilations": op.dilations, "group": op.group}
    return b.node("Conv", x, weights, **attributes)


def _scale(op: ops.MatMul | ops.Conv, axis: int, grid: Grid) -> Array:
    """Scales of the weights by output channel with which results lie on their reader's grid."""
    value = op.result
    while value.used_once and isinstance(value.users[0], ops.AddClear | ops.Assume):
        value = value.users[0].results[0]
    reader = value.users[0] if value.used_once else None
    if not isinstance(reader, ops.Dequantize):
        return ONE
    scale = np.asarray(reader.scale / grid.scale.reshape(()), np.float64)
    by_channel = axes_of(len(op.result.shape), scale) == {axis}
    if not (scale > 0).all() or not (by_channel or scale.size == 1):
        return ONE
    return scale if by_channel else scale.reshape(())


# --- sums and shifts ----------------------------------------------------------------------------
def add_clear(b: QuantizedBuilder, op: ops.AddClear) -> str:
    grid = b.grids[op.x]
    b.grids[op.result] = Grid(grid.scale, grid.zero + op.c)
    return b.read(op.x)


def mul_clear(b: QuantizedBuilder, op: ops.MulClear) -> str:
    """The same floats stand for multiples on a finer grid, if elements still share one."""
    grid = b.grids[op.x]
    finer = compress(np.asarray(grid.scale / op.c)) if op.c.all() else None
    if finer is not None and finer.size <= grid.scale.size:
        b.grids[op.result] = Grid(finer, compress(np.asarray(grid.zero * op.c)))
        return b.read(op.x)
    b.grids[op.result] = Grid(grid.scale, compress(np.asarray(grid.zero * op.c)))
    return b.node("Mul", b.read(op.x), b.constant(op.c.astype(np.float32)))


def assume(b: QuantizedBuilder, op: ops.Assume) -> str:
    b.grids[op.result] = b.grids[op.x]
    return b.read(op.x)


def round_(b: QuantizedBuilder, op: ops.Round) -> str:
    b.grids[op.result] = INTEGERS
    half, step = (b.constant(np.float32(2.0**bits)) for bits in (op.lsbs - 1, op.lsbs))
    return b.node("Floor", b.node("Div", b.node("Add", b.integer(op.x), half), step))


def on_integers(emission: Emission) -> Emission:
    """What an operation on integers is, which reads them as such and gives such."""

    def emit(b: QuantizedBuilder, op: Op) -> Any:
        b.exact = True
        try:
            return emission(b, op)
        finally:
            b.exact = False
            b.grids.update(dict.fromkeys(op.results, INTEGERS))

    return emit


def add(b: QuantizedBuilder, op: ops.Add) -> Any:
    first, second = b.grids[op.x], b.grids[op.y]
    if not _same(op, first.scale, second.scale):
        return on_integers(LINEAR[ops.Add])(b, op)
    b.grids[op.result] = Grid(first.scale, first.zero + second.zero)
    return LINEAR[ops.Add](b, op)


def max_(b: QuantizedBuilder, op: ops.Max) -> Any:
    first, second = b.grids[op.x], b.grids[op.y]
    same = _same(op, first.scale, second.scale) and _same(op, first.zero, second.zero)
    if not same or (first.scale < 0).any():
        return on_integers(TABLES[ops.Max])(b, op)
    b.grids[op.result] = first
    return TABLES[ops.Max](b, op)


def _same(op: Op, first: Array, second: Array) -> bool:
    shape = op.result.shape
    return np.array_equal(np.broadcast_to(first, shape), np.broadcast_to(second, shape))


def moved(b: QuantizedBuilder, op: ops.Movement) -> Any:
    """The grids of elements move with them."""
    grid = b.grids[op.x]
    arrays = (np.broadcast_to(array, op.x.shape) for array in (grid.scale, grid.zero))
    scale, zero = (compress(op.move(array)) for array in arrays)
    b.grids[op.result] = INTEGERS if grid is INTEGERS else Grid(scale, zero)
    return reshape(b, op) if isinstance(op, ops.Reshape) else MOVEMENT[type(op)](b, op)


def concat(b: QuantizedBuilder, op: ops.Concat) -> Any:
    grids = [b.grids[value] for value in op.xs]
    scale, zero = (
        compress(
            np.concatenate(
                [np.broadcast_to(a, v.shape) for a, v in zip(arrays, op.xs, strict=True)], op.axis
            )
        )
        for arrays in ([grid.scale for grid in grids], [grid.zero for grid in grids])
    )
    b.grids[op.result] = Grid(scale, zero)
    return MOVEMENT[ops.Concat](b, op)


def pad(b: QuantizedBuilder, op: ops.Pad) -> str:
    x, grid = b.operand(op.x)
    b.grids[op.result] = grid
    fill = (op.value - grid.zero.reshape(())) * grid.scale.reshape(())
    widths = b.ints([*op.before, *op.after])
    return b.node("Pad", x, widths, b.constant(np.float32(fill))) if op.before else x


def reshape(b: QuantizedBuilder, op: ops.Reshape) -> str:
    return b.node("Reshape", b.read(op.x), b.ints(_sizes(op.x, op.shape)))


def node(b: QuantizedBuilder, op: ops.Onnx) -> Any:
    """A node of the model. Reshape keeps a batch of one, for others to take its place."""
    shape = ops.constant_of(op.input(1)) if op.op_type == "Reshape" else None
    if shape is None or not op.operands[0].shape:
        return onnx_node(b, op)
    return b.node("Reshape", b.read(op.operands[0]), b.ints(_sizes(op.operands[0], shape.tolist())))


def _sizes(x: Value, shape: Sequence[int]) -> list[int]:
    return [0, *shape[1:]] if (*x.shape[:1], *shape[:1]) == (1, 1) else list(shape)


# --- the rest -----------------------------------------------------------------------------------
def integer_input(b: QuantizedBuilder, op: Input) -> str:
    if not isinstance(op.type, Int):
        return input_(b, op)
    b.grids[op.result] = INTEGERS
    return cast(b, b.names[op.result], np.int64, np.float32)


def returned(b: QuantizedBuilder, op: Return) -> None:
    """Results that are integers are written as such."""
    for value in dict.fromkeys(op.operands):
        if value in b.grids:
            b.names[value] = cast(b, b.integer(value), np.float32, np.int64)


QUANTIZED: dict[type[Op], Emission] = {
    Input: integer_input,
    Return: returned,
    ops.Constant: constant,
    ops.Observe: observe,
    ops.Onnx: node,
    ops.Quantize: quantize,
    ops.Dequantize: dequantize,
    ops.IntConstant: int_constant,
    ops.MatMul: matmul,
    ops.Conv: conv,
    ops.AddClear: add_clear,
    ops.MulClear: mul_clear,
    ops.Assume: assume,
    ops.Round: round_,
    ops.Add: add,
    ops.Max: max_,
    ops.Mul: on_integers(TABLES[ops.Mul]),
    **{kind: on_integers(LINEAR[kind]) for kind in (ops.MatMulValues, ops.Neg, ops.Sub, ops.Sum)},
    **dict.fromkeys(MOVEMENT, moved),
    ops.Concat: concat,
    ops.Pad: pad,
}
"""What each operation of a quantized graph becomes; look-ups have no such form."""
