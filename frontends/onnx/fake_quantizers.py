"""QONNX's fake quantizers, as what they stand for: quantize, then dequantize.

Operators, parameters and rounding are those of https://github.com/fastmachinelearning/qonnx (its
docs/qonnx-custom-ops). Brevitas and FINN export the same ones under domains of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from onnx import NodeProto, TensorProto, numpy_helper

from lutra.frontends.onnx.attributes import attributes_of
from lutra.frontends.onnx.domains import is_fake_quantizer
from lutra.ir.core import Value
from lutra.ir.errors import ModelError, did_you_mean
from lutra.ir.ops import Constant, Dequantize, Onnx, Quantize
from lutra.ir.ort import element_type
from lutra.ir.rounding import ROUNDINGS
from lutra.ir.types import Array, Ints, Shape, Tensor, broadcasts_to

MODES = {
    **{name.upper(): name for name in ROUNDINGS},
    "ROUND": "half_even",
    "ROUND_TO_ZERO": "down",
}
"""Rounding modes by QONNX's and Brevitas' names."""

MOST_BITS = 32


class Unsupported(ValueError):
    """Why a fake quantizer cannot be imported."""


@dataclass(frozen=True)
class Affine:
    """(clip(round(x / scale + zero_point), lo, hi) - zero_point) * scale; zero points are floats"""

    scale: Array
    zero_point: Array
    lo: int
    hi: int
    rounding: str = "half_even"

    def __call__(self, x: Value) -> Value:
        before, inside = self._zero_points()
        if before.any():
            x = _node("Add", x, before * self.scale)
        q = Quantize(x, self.scale, inside, self.lo, self.hi, self.rounding).result
        return _dequantized(q, self.scale, self.zero_point)

    def _zero_points(self) -> tuple[Array, Ints]:
        """The zero point as a term added before rounding, and one after: the other is 0."""
        zero_point, mode = self.zero_point, ROUNDINGS[self.rounding]
        keeps_ties = self.rounding == "half_even" and not (zero_point % 2).any()
        if _are_integers(zero_point) and (mode.shifts_with_integers or keeps_ties):
            return np.zeros_like(zero_point), zero_point.astype(np.int64)
        return zero_point, np.zeros(zero_point.shape, np.int64)


@dataclass(frozen=True)
class Bipolar:
    """scale - shift where x + shift >= 0, else -scale - shift"""

    scale: Array
    shift: Array

    def __call__(self, x: Value) -> Value:
        if self.shift.any():
            x = _node("Add", x, self.shift)
        positive = Quantize(x, np.array(1), np.array(1), 0, 1, "floor").result
        offset = -self.scale - self.shift
        return Dequantize(positive, 2 * self.scale, np.array(0), offset).result


@dataclass(frozen=True)
class Truncation:
    """(clip(round(rint(x / scale + zero_point) / divisor), lo, hi) - new_zero_point) * new_scale"""

    scale: Array
    zero_point: Array
    divisor: Array
    lo: int
    hi: int
    rounding: str
    new_scale: Array
    new_zero_point: Array

    def __call__(self, x: Value) -> Value:
        steps = _node("Add", _node("Div", x, self.scale), self.zero_point)
        rounded = Onnx.make("Round", [steps]).result
        q = Quantize(rounded, self.divisor, np.array(0), self.lo, self.hi, self.rounding).result
        return _dequantized(q, self.new_scale, self.new_zero_point)


FakeQuantizer: TypeAlias = Callable[[Value], Value]
"""Builds what stands for a node, detached, on its first input."""


# --- reading nodes ------------------------------------------------------------------------------
def _quant(attributes: Mapping[str, Any], *inputs: Array) -> FakeQuantizer:
    scale, zero_point, bit_width = _inputs(inputs, 3)
    bits, signed = _bits(bit_width), _flag(attributes, "signed")
    if bits == 1 and signed:  # QONNX: what Brevitas means by it is a bipolar value
        return Bipolar(scale, zero_point * scale)
    lo, hi = _bounds(bits, signed, _flag(attributes, "narrow"))
    rounding = _rounding(attributes, "ROUND")
    lo, hi = (int(ROUNDINGS[rounding](np.array(bound))) for bound in (lo, hi))
    return Affine(scale, zero_point, lo, hi, rounding)


def _bipolar(attributes: Mapping[str, Any], *inputs: Array) -> FakeQuantizer:
    (scale,) = _inputs(inputs, 1)
    return Bipolar(scale, np.zeros((), np.float32))


def _trunc(attributes: Mapping[str, Any], *inputs: Array) -> FakeQuantizer:
    """Version 1 has the parameters (scale, zero point, bits, new bits), version 2 a new scale."""
    rounding = _rounding(attributes, "FLOOR")
    if len(inputs) == 4:
        scale, zero_point, *widths = _inputs(inputs, 4)
        bits, new_bits = map(_bits, widths)
        reach = int(np.ceil(2**new_bits))  # of an input of `bits` bits, signed or not
        divisor = np.array(2.0 ** (bits - new_bits))
        return Truncation(scale, zero_point, divisor, -reach, reach, rounding, scale, zero_point)
    scale, zero_point, _, new_scale, new_width = _inputs(inputs, 5)
    lo, hi = _bounds(_bits(new_width), attributes.get("signed", 1), attributes.get("narrow", 0))
    divisor = np.exp2(np.rint(np.log2(new_scale / scale)))
    new_zero_point = zero_point / divisor
    return Truncation(
        scale, zero_point, divisor, int(lo), int(hi), rounding, new_scale, new_zero_point
    )


def _float_quant(attributes: Mapping[str, Any], *inputs: Array) -> FakeQuantizer:
    raise Unsupported("it makes floats of few bits, not integers")


_READERS: dict[str, Callable[..., FakeQuantizer]] = {
    "BipolarQuant": _bipolar,
    "FloatQuant": _float_quant,
    "IntQuant": _quant,
    "Quant": _quant,
    "Trunc": _trunc,
}


def _inputs(arrays: tuple[Array, ...], count: int) -> list[Array]:
    """The parameters in float32, the first of them a scale."""
    if len(arrays) != count:
        raise Unsupported(f"it has {len(arrays)} parameters, not {count}")
    if not (np.isfinite(arrays[0]).all() and (arrays[0] > 0).all()):
        raise Unsupported("its scale is not positive")
    return [array.astype(np.float32) for array in arrays]


def _bits(width: Array) -> float:
    if width.size == 0 or (width != width.flat[0]).any():
        raise Unsupported("its bit-width differs between elements")
    bits = float(width.flat[0])
    if not 1 <= bits <= MOST_BITS:
        raise Unsupported(f"its bit-width is {bits:g}, not within 1 to {MOST_BITS}")
    return bits


def _bounds(bits: float, signed: bool, narrow: bool) -> tuple[float, float]:
    if signed:
        return -(2 ** (bits - 1)) + narrow, 2 ** (bits - 1) - 1
    return 0.0, 2**bits - 1 - narrow


def _flag(attributes: Mapping[str, Any], name: str) -> bool:
    if name not in attributes:
        raise Unsupported(f"it has no attribute `{name}`")
    return bool(attributes[name])


def _rounding(attributes: Mapping[str, Any], usual: str) -> str:
    given = str(attributes.get("rounding_mode", usual)).upper()
    if given not in MODES:
        raise Unsupported(f"no rounding mode {given!r}; {did_you_mean(given, list(MODES))}")
    return MODES[given]


# --- building -----------------------------------------------------------------------------------
def lower_quantizer(node: NodeProto, x: Value, parameters: list[Array]) -> Value:
    """The value that a fake quantizer computes of x, by operations that are not in a graph yet.

    parameters: the constants that are the node's other inputs. Error F004 where their shapes do not
    fit; `obstacles` tells of all else before.
    """
    kind = x.type
    assert isinstance(kind, Tensor)
    rank = len(kind.shape)
    arrays = [array.reshape(_shape_within(rank, array.shape)) for array in parameters]
    if wrong := [array for array in arrays if not broadcasts_to(array.shape, kind.shape)]:
        raise ModelError(
            "F004",
            f"a parameter of shape {wrong[0].shape} does not fit a value of shape {kind.shape}",
            nodes=(node.name,),
        )
    quantizer = _READERS[node.op_type](attributes_of(node), *arrays)
    if kind.dtype == "float32":
        return quantizer(x)
    return _cast(quantizer(_cast(x, "float32")), kind.dtype)


def quantized_by(result: Value) -> Quantize:
    """The operation behind a value of `lower_quantizer` that makes the integers."""
    op = result.owner
    while not isinstance(op, Quantize):
        op = op.operands[0].owner
    return op


def obstacles(nodes: Iterable[NodeProto], constants: Mapping[str, TensorProto]) -> dict[str, str]:
    """The fake quantizers that cannot be imported, by name, with the reason."""
    found = {}
    for node in filter(is_fake_quantizer, nodes):
        if computed := [name for name in node.input[1:] if name not in constants]:
            found[node.name] = f"its parameter {computed[0]!r} is not constant"
            continue
        arrays = [numpy_helper.to_array(constants[name]) for name in node.input[1:]]
        try:
            _READERS[node.op_type](attributes_of(node), *arrays)
        except Unsupported as error:
            found[node.name] = str(error)
    return found


def _shape_within(rank: int, shape: Shape) -> Shape:
    """A shape without leading axes of size 1 beyond a rank."""
    while len(shape) > rank and shape[0] == 1:
        shape = shape[1:]
    return shape


def _node(op_type: str, x: Value, constant: Array) -> Value:
    return Onnx.make(op_type, [x, Constant(constant.astype(np.float32)).result]).result


def _cast(x: Value, dtype: str) -> Value:
    return Onnx.make("Cast", [x], to=element_type(dtype)).result


def _dequantized(q: Value, scale: Array, zero_point: Array) -> Value:
    """(q - zero_point) * scale, also for zero points between integers."""
    if _are_integers(zero_point):
        return Dequantize(q, scale, zero_point.astype(np.int64), np.array(0)).result
    return Dequantize(q, scale, np.array(0), -zero_point * scale).result


def _are_integers(array: Array) -> bool:
    return bool((array == np.rint(array)).all())
