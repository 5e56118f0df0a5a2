"""Between floats and integers: quantize, dequantize, and the calibrated range of a float value."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lutra.ir.core import Op, Value, op
from lutra.ir.errors import did_you_mean
from lutra.ir.rounding import ROUNDINGS
from lutra.ir.types import (
    Array,
    Int,
    Ints,
    Tensor,
    Type,
    broadcasts_to,
    compress,
    frozen,
    frozen_ints,
)


@op("observe")
class Observe(Op):
    """A float value of which calibration says that it lies within [lo, hi]. Identity."""

    x: Value
    lo: float
    hi: float

    def check(self) -> Iterator[str]:
        if not self.lo <= self.hi:
            yield f"lo={self.lo} is above hi={self.hi}"

    def infer(self) -> Type:
        return self.x.type

    def eval(self, x: Array) -> Array:
        return x


@op("quantize")
class Quantize(Op):
    """clip(round(x / scale) + zero_point, lo, hi): ONNX's QuantizeLinear.

    `scale` and `zero_point` broadcast to x: per tensor, per channel or per element. `rounding` is
    one of `lutra.ir.rounding.ROUNDINGS`: `half_even` as in ONNX, `half_up`, `half_down`, `up`,
    `down`, `ceil`, `floor`.
    """

    x: Value
    scale: Array
    zero_point: Ints
    lo: int
    hi: int
    rounding: str = "half_even"

    def normalise(self) -> None:
        self.scale = frozen(compress(np.asarray(self.scale)), np.float32)
        self.zero_point = frozen_ints(compress(np.asarray(self.zero_point)))

    def check(self) -> Iterator[str]:
        if self.rounding not in ROUNDINGS:
            yield f"no rounding {self.rounding!r}; {did_you_mean(self.rounding, list(ROUNDINGS))}"
        if not isinstance(self.x.type, Tensor):
            yield f"x is {self.x.type}, not a float value"
        for name in ("scale", "zero_point"):
            shape = getattr(self, name).shape
            if not broadcasts_to(shape, self.x.shape):
                yield f"{name} {shape} does not broadcast to x {self.x.shape}"
        if not (np.isfinite(self.scale).all() and (self.scale > 0).all()):
            yield "a scale is not positive"
        if self.lo > self.hi:
            yield f"lo={self.lo} is above hi={self.hi}"

    def is_constant(self) -> bool:
        return self.x.constant

    def infer(self) -> Int:
        return Int.of(self.x.shape, self.lo, self.hi)

    def eval(self, x: Array) -> Array:
        steps = ROUNDINGS[self.rounding](x.astype(np.float32) / self.scale)
        shifted = steps.astype(np.float64) + self.zero_point
        return np.asarray(np.clip(shifted, self.lo, self.hi), np.int64)


@op("int_constant")
class IntConstant(Op):
    """Clear integers: quantized weights, until a linear operation takes them in."""

    value: Ints

    def normalise(self) -> None:
        self.value = frozen_ints(self.value)

    def infer(self) -> Int:
        return Int.of(self.value.shape, self.value, self.value)

    def is_constant(self) -> bool:
        return True

    def eval(self) -> Array:
        return self.value[None]


@op("dequantize")
class Dequantize(Op):
    """scale * (q - zero_point) + offset, in float32.

    All three broadcast to q. `offset` carries biases and other constants that come after linear
    operations; a quantized model's own DequantizeLinear has offset 0.
    """

    q: Value
    scale: Array
    zero_point: Ints
    offset: Array

    def normalise(self) -> None:
        self.scale = frozen(compress(np.asarray(self.scale)), np.float32)
        self.zero_point = frozen_ints(compress(np.asarray(self.zero_point)))
        self.offset = frozen(compress(np.asarray(self.offset)), np.float32)

    def check(self) -> Iterator[str]:
        for name in ("scale", "zero_point", "offset"):
            shape = getattr(self, name).shape
            if not broadcasts_to(shape, self.q.shape):
                yield f"{name} {shape} does not broadcast to q {self.q.shape}"

    def infer(self) -> Tensor:
        return Tensor(self.q.int_type.shape)

    def is_constant(self) -> bool:
        return self.q.constant

    def eval(self, q: Array) -> Array:
        return (q - self.zero_point).astype(np.float32) * self.scale + self.offset
