"""ONNX's own quantization, QuantizeLinear and DequantizeLinear, as that of the IR."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from lutra.ir.core import Value
from lutra.ir.ops import Dequantize, IntConstant, Onnx, Quantize, constant_of
from lutra.ir.ort import element_type
from lutra.ir.rewriter import Rewriter
from lutra.ir.traits import Trait, trait
from lutra.ir.types import Array, Ints, Shape, Tensor, frozen
from lutra.passes.affine import NO_OFFSET, ZERO
from lutra.passes.rules_linear import node

ONE = frozen(1, np.float32)
FLOAT_INTEGERS = 1 << 24
"""Below it, float32 holds all integers."""


class QuantizeLinear:
    """Rewrites a graph's nodes in order.

    `integers` keeps, for every rewritten ONNX value of an integer type, the same integers as a
    value of the IR. The ONNX nodes themselves stay as long as somebody reads them.
    """

    def __init__(self, rewriter: Rewriter) -> None:
        self.rewriter = rewriter
        self.integers: dict[Value, Value] = {}

    def visit(self, op: Onnx, *, needed: bool) -> None:
        """Rewrite one node, to integers only if they are `needed` before a layer."""
        if op.op_type == "DequantizeLinear":
            self._dequantize(op, needed)
            return
        quantizes = op.op_type == "QuantizeLinear"
        found = (_quantized(op) if needed else None) if quantizes else self._between(op)
        if found is not None:
            self.rewriter.insert(found.owner, before=op, loc=op.loc)
            self.integers[op.result] = found

    def _dequantize(self, op: Onnx, needed: bool) -> None:
        q, grid = self._integers(op.inputs[0]), _grid(op)
        if q is None and needed:
            q = _taken(op.inputs[0])
        if q is not None and grid is not None:
            floats = _cast(Dequantize(q, *grid, NO_OFFSET).result, _dtype(op.result))
            # Without origins: the layer that reads the integers did not compute them, and weights
            # belong to their layer.
            self.rewriter.insert(floats.owner, before=op)
            self.rewriter.replace_uses(op.result, floats)

    def _integers(self, value: Value | None) -> Value | None:
        """Integers of the IR for a value of the ONNX graph that was rewritten or is constant."""
        array = constant_of(value)
        if value is None or (array is not None and _bounds(value) is None):
            return None
        if array is not None:
            return IntConstant(array.astype(np.int64)).result
        return self.integers.get(value)

    def _between(self, op: Onnx) -> Value | None:
        """A node on integers: a Clip narrows what quantizes, others move elements as of floats."""
        if not any(value in self.integers for value in op.operands) or len(op.results) > 1:
            return None
        bounds = _bounds(op.result)
        if bounds is None:
            return None
        if op.op_type == "Clip":
            return self._clip(op, *bounds)
        if trait(op) not in (Trait.STRUCTURAL, Trait.ORDER):
            return None
        floats = node(op.op_type, *(self._float(value, op) for value in op.inputs), **op.attrs)
        return Quantize(floats, ONE, ZERO, *bounds).result

    def _float(self, value: Value | None, op: Onnx) -> Value | None:
        """An operand as floats, if it holds integers that `op` moves."""
        if value is None or _dtype(value) != _dtype(op.result):
            return value
        q = self._integers(value)
        return value if q is None else Dequantize(q, ONE, ZERO, NO_OFFSET).result

    def _clip(self, op: Onnx, lo: int, hi: int) -> Value | None:
        source, *ends = (op.input(index) for index in range(3))
        quantize = self.integers[source].owner if source in self.integers else None
        given = [constant_of(end) for end in ends if end is not None]
        if not isinstance(quantize, Quantize) or any(array is None for array in given):
            return None
        low, high = (constant_of(end) for end in ends)
        lo = max(quantize.lo, lo if low is None else int(low.reshape(())))
        hi = min(quantize.hi, hi if high is None else int(high.reshape(())))
        return quantize.copy({}, lo=lo, hi=hi).result if lo <= hi else None


def _taken(x: Value | None) -> Value | None:
    """Integers that a model reads, or computes of such before any layer, as those of the IR."""
    bounds = None if x is None else _bounds(x)
    if x is None or bounds is None or bounds[1] >= FLOAT_INTEGERS:
        return None
    return Quantize(_cast(x, "float32"), ONE, ZERO, *bounds).result


def _quantized(op: Onnx) -> Value | None:
    x, grid, bounds = op.inputs[0], _grid(op), _bounds(op.result)
    if x is None or grid is None or bounds is None or (grid[0] <= 0).any():
        return None
    if _bounds(x) is not None:
        return None  # of integers: not defined for those of the IR
    return Quantize(_cast(x, "float32"), *grid, *bounds).result


def _bounds(value: Value) -> tuple[int, int] | None:
    """Least and largest number of an ONNX value's integer type; None for other types."""
    match = re.fullmatch(r"(u?)int(\d+)", _dtype(value))
    if match is None:
        return None
    bits = int(match[2])
    return (0, 2**bits - 1) if match[1] else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _grid(op: Onnx) -> tuple[Array, Ints] | None:
    """Scale and zero point of QuantizeLinear and DequantizeLinear, as they broadcast to x."""
    scale = constant_of(op.inputs[1])
    zero_point = ZERO if op.input(2) is None else constant_of(op.input(2))
    if scale is None or zero_point is None:
        return None
    shape = op.result.shape
    return (
        _aligned(scale.astype(np.float32), op.attrs, shape),
        _aligned(zero_point.astype(np.int64), op.attrs, shape),
    )


def _aligned(array: Array, attrs: Mapping[str, Any], shape: Shape) -> Array:
    """A parameter for the whole tensor, for each channel, or for blocks along an axis."""
    if array.size == 1:
        return array.reshape(())
    axis = attrs.get("axis", 1) % len(shape)
    if block := attrs.get("block_size", 0):
        return np.repeat(array, block, axis).take(range(shape[axis]), axis)
    return array.reshape([-1 if i == axis else 1 for i in range(len(shape))])


def _cast(value: Value, dtype: str) -> Value:
    if _dtype(value) == dtype:
        return value
    return node("Cast", value, to=element_type(dtype))


def _dtype(value: Value) -> str:
    """Element type of an ONNX value."""
    assert isinstance(value.type, Tensor)
    return value.type.dtype
