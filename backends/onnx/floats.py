"""Float-level operations, and those between floats and integers, as the interpreter has them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lutra.backends.onnx.builder import Builder, Emission, cast, elements
from lutra.ir import ops
from lutra.ir.core import Op
from lutra.ir.errors import BackendError
from lutra.ir.rounding import ROUNDINGS, Rounding


def constant(b: Builder, op: ops.Constant) -> str:
    return b.node("Identity", b.constant(op.value))


def onnx_node(b: Builder, op: ops.Onnx) -> Sequence[str]:
    """The node itself. It knows of no axis of samples in front."""
    if b.lead:
        raise BackendError("B002", f"{op.op_type} is no operation on integers", nodes=op.loc)
    inputs = ["" if value is None else b.read(value) for value in op.inputs]
    outputs = [b.reserve("v") for _ in op.results]
    return b.nodes_result(op.op_type, inputs, outputs, op.domain, **op.attrs)


def observe(b: Builder, op: ops.Observe) -> str:
    return b.node("Identity", b.read(op.x))


def quantize(b: Builder, op: ops.Quantize) -> str:
    x = cast(b, b.read(op.x), elements(op.x), np.float32)
    steps = rounded(b, b.node("Div", x, b.constant(op.scale)), ROUNDINGS[op.rounding])
    steps = b.node("Add", cast(b, steps, np.float32, np.float64), _double(b, op.zero_point))
    steps = b.node("Clip", steps, _double(b, op.lo), _double(b, op.hi))
    return cast(b, steps, np.float64, np.int64)


def rounded(b: Builder, x: str, mode: Rounding) -> str:
    """A float32 tensor rounded to integers."""
    steps = b.node("Abs", x) if mode.symmetric else x
    if mode.shift:
        steps = b.node("Add", steps, b.constant(np.float32(mode.shift)))
    steps = b.node(mode.function, steps)
    return b.node("Mul", b.node("Sign", x), steps) if mode.symmetric else steps


def _double(b: Builder, number: object) -> str:
    return b.constant(np.asarray(number, np.float64))


def dequantize(b: Builder, op: ops.Dequantize) -> str:
    steps = b.node("Sub", b.read(op.q), b.constant(op.zero_point))
    scaled = b.node("Mul", cast(b, steps, np.int64, np.float32), b.constant(op.scale))
    return b.node("Add", scaled, b.constant(op.offset))


FLOATS: dict[type[Op], Emission] = {
    ops.Constant: constant,
    ops.Dequantize: dequantize,
    ops.Observe: observe,
    ops.Onnx: onnx_node,
    ops.Quantize: quantize,
}
