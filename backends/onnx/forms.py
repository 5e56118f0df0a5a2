"""How quantized values are written: by QuantizeLinear and DequantizeLinear, or by QONNX's Quant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from lutra.backends.onnx.builder import Builder
from lutra.backends.onnx.floats import rounded
from lutra.ir.errors import BackendError
from lutra.ir.ops import Quantize
from lutra.ir.rounding import ROUNDINGS
from lutra.ir.types import Array, Ints


@dataclass(frozen=True)
class Grid:
    """Floats (q - zero) * scale, which stand for integers q. Both broadcast to the value."""

    scale: Array
    zero: Ints

    @property
    def uniform(self) -> bool:
        """Whether all elements lie on one grid."""
        return self.scale.size == 1 and self.zero.size == 1


INTEGERS = Grid(np.array(1.0, np.float32), np.array(0))
"""Integers that are written as floats of the same value."""


class Form(Protocol):
    """A format of quantized models."""

    def quantize(self, b: Builder, x: str, op: Quantize) -> tuple[str, Grid]:
        """Write what quantizes the floats x; floats on a grid, and the grid. Error B002."""
        ...

    def weights(self, b: Builder, integers: Ints, scale: Array) -> str:
        """Write the constant integers * scale; scales are positive and vary along one axis."""
        ...


class Qdq:
    """QuantizeLinear and DequantizeLinear, with a Clip between for fewer bits than types have."""

    TYPES = ("uint8", "int8", "uint16", "int16", "int32")

    def quantize(self, b: Builder, x: str, op: Quantize) -> tuple[str, Grid]:
        scale, rank = op.scale, len(op.result.shape)
        if op.rounding != "half_even" or _axis(rank, scale, op.zero_point) is None:
            x = rounded(b, b.node("Div", x, b.constant(scale)), ROUNDINGS[op.rounding])
            scale = INTEGERS.scale
        axis = _axis(rank, scale, op.zero_point)
        if axis is None:  # integers vary along several axes: leave them to a sum
            x = b.node("Add", x, b.constant(op.zero_point.astype(np.float32)))
            return self._pair(b, x, op, INTEGERS, 0)
        return self._pair(b, x, op, Grid(scale, op.zero_point), axis)

    def _pair(self, b: Builder, x: str, op: Quantize, grid: Grid, axis: int) -> tuple[str, Grid]:
        zeros, (lo, hi) = grid.zero, (op.lo, op.hi)
        kind = _type(min(lo, int(zeros.min())), max(hi, int(zeros.max())), self.TYPES[:4], op)
        limits = np.iinfo(kind)
        narrow = (lo, hi) != (limits.min, limits.max)
        if narrow and kind.itemsize > 1:  # onnxruntime clips no integers of 16 bits
            x, narrow = _clipped(b, x, op, grid), False
        scale, zero = np.broadcast_arrays(grid.scale, zeros.astype(kind))
        parameters = b.constant(_flat(scale.astype(np.float32))), b.constant(_flat(zero))
        attributes = {"axis": axis} if scale.size > 1 else {}
        q = b.node("QuantizeLinear", x, *parameters, **attributes)
        if narrow:
            q = b.node("Clip", q, *(b.constant(np.array(end, kind)) for end in (lo, hi)))
        return b.node("DequantizeLinear", q, *parameters, **attributes), grid

    def weights(self, b: Builder, integers: Ints, scale: Array) -> str:
        kind = _type(int(integers.min(initial=0)), int(integers.max(initial=0)), self.TYPES[1:])
        axis = _axis(integers.ndim, scale) or 0
        attributes = {"axis": axis} if scale.size > 1 else {}
        stored = b.constant(integers.astype(kind))
        scales = b.constant(_flat(scale.astype(np.float32)))
        return b.node("DequantizeLinear", stored, scales, **attributes)


class Qonnx:
    """Quant, as https://github.com/fastmachinelearning/qonnx defines it."""

    DOMAIN = "qonnx.custom_op.general"

    def quantize(self, b: Builder, x: str, op: Quantize) -> tuple[str, Grid]:
        """Quant adds the zero point before it rounds, which must not change what is rounded."""
        mode, zero = ROUNDINGS[op.rounding], op.zero_point
        same = mode.shifts_with_integers or (op.rounding == "half_even" and not (zero % 2).any())
        if not same or _bits(op.lo, op.hi) is None:
            x = _clipped(b, x, op, Grid(op.scale, zero))
            zero = np.zeros_like(zero)
        lo, hi = (int(op.lo - op.zero_point.max()), int(op.hi - op.zero_point.min()))
        bits = _bits(op.lo, op.hi) if zero.any() or not op.zero_point.any() else None
        bits = bits or _enclosing(lo, hi)
        return self._quant(b, x, op.scale, zero, bits, op.rounding), Grid(op.scale, op.zero_point)

    def weights(self, b: Builder, integers: Ints, scale: Array) -> str:
        lo, hi = int(integers.min(initial=0)), int(integers.max(initial=0))
        floats = b.constant((integers * scale).astype(np.float32))
        return self._quant(b, floats, scale, np.array(0), _enclosing(-max(-lo, hi, 1), 0))

    def _quant(
        self,
        b: Builder,
        x: str,
        scale: Array,
        zero: Ints,
        bits: tuple[int, bool, bool],
        rounding: str = "half_even",
    ) -> str:
        width, signed, narrow = bits
        name = "ROUND" if rounding == "half_even" else rounding.upper()
        arrays = (scale, zero, np.array(width))
        (result,) = b.nodes_result(
            "Quant",
            [x, *(b.constant(np.asarray(array, np.float32)) for array in arrays)],
            [b.reserve("v")],
            self.DOMAIN,
            signed=int(signed),
            narrow=int(narrow),
            rounding_mode=name,
        )
        return result


FORMS: dict[str, type[Form]] = {"qdq": Qdq, "qonnx": Qonnx}
"""The formats by name."""


def _clipped(b: Builder, x: str, op: Quantize, grid: Grid) -> str:
    """Floats within what is quantized to lo and hi."""
    for op_type, end in (("Max", op.lo), ("Min", op.hi)):
        x = b.node(op_type, x, b.constant(np.asarray((end - grid.zero) * grid.scale, np.float32)))
    return x


def _bits(lo: int, hi: int) -> tuple[int, bool, bool] | None:
    """The (bits, signed, narrow) of exactly these integers; None where there are none."""
    signed = lo < 0
    bits = (hi + 1).bit_length() if signed else max(1, hi.bit_length())
    for narrow in (False, True):
        least = -(1 << (bits - 1)) + narrow if signed else 0
        most = (1 << (bits - 1)) - 1 if signed else (1 << bits) - 1 - narrow
        if (lo, hi) == (least, most) and not (signed and bits == 1):
            return bits, signed, narrow
    return None


def _enclosing(lo: int, hi: int) -> tuple[int, bool, bool]:
    """The fewest (bits, signed, narrow) whose integers hold these; one signed bit is bipolar."""
    if lo >= 0:
        return max(1, hi.bit_length()), False, False
    return max(2, (-lo - 1).bit_length() + 1, hi.bit_length() + 1), True, False


def _type(lo: int, hi: int, names: tuple[str, ...], op: Quantize | None = None) -> np.dtype[Any]:
    """The first of these types that holds all integers within lo and hi. Error B002."""
    for name in names:
        if np.iinfo(name).min <= lo and hi <= np.iinfo(name).max:
            return np.dtype(name)
    raise BackendError(
        "B002",
        f"integers within {lo} and {hi} do not fit ONNX's quantized types",
        nodes=op.loc if op else (),
        lines=[repr(op)] if op else (),
        help="quantize to 16 bits or fewer",
    )


def axes_of(rank: int, *arrays: Array) -> set[int]:
    """The axes along which arrays vary that broadcast to a rank."""
    return {rank - a.ndim + axis for a in arrays for axis in range(a.ndim) if a.shape[axis] > 1}


def _axis(rank: int, *arrays: Array) -> int | None:
    """The one axis along which arrays vary, 0 where there is none; None if there are several."""
    axes = axes_of(rank, *arrays)
    return None if len(axes) > 1 else next(iter(axes), 0)


def _flat(array: Array) -> Array:
    return array.reshape(-1) if array.size > 1 else array.reshape(())
