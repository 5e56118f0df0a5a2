"""Uniform affine quantization of arrays, under the names that users of Concrete ML know.

    values = scale * (qvalues - zero_point)

with scale S = (beta - alpha) / (2^n - 1) and zero point Z = round(-alpha / S) for values in
[alpha, beta] (Jacob et al., 2018, arXiv:1712.05877, eq. 1).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lutra.ir.errors import InputError
from lutra.ir.types import Array
from lutra.quantization.serialization import Serializable, array_of, entries_of, field
from lutra.quantization.tracing import Traced

MAX_BITS = 32
"""Widest integers of a quantizer; their products and sums stay exact in float64 and int64."""

FLAT = 1e-6
"""Values whose spread is below this count as one value."""


@dataclass(frozen=True)
class UniformQuantizer(Serializable):
    """The map between values and integers of `n_bits` bits.

    zero_point: the integer of value 0.0.
    is_signed: integers in [-2^(n-1), 2^(n-1) - 1] instead of [0, 2^n - 1].
    is_symmetric: 0.0 is the middle of the range of values, and `zero_point` is 0.
    """

    n_bits: int
    scale: float
    zero_point: int
    is_signed: bool = False
    is_symmetric: bool = False

    def __post_init__(self) -> None:
        _check_bits(self.n_bits)
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise InputError("I005", f"scale={self.scale!r} is not a positive number")

    @classmethod
    def fitted(
        cls, values: Array, n_bits: int, is_signed: bool = False, is_symmetric: bool = False
    ) -> UniformQuantizer:
        """The quantizer whose range of integers covers the values, from the least to the greatest.

        Values that are all the same become the integer 1, or 0 if they are 0.0.
        Errors: I003 if the values are empty or not finite, I005 for the number of bits.
        """
        _check_bits(n_bits)
        if values.size == 0 or not np.isfinite(values).all():
            raise InputError("I003", "values to quantize are missing, NaN or infinite")
        low, high = float(values.min()), float(values.max())
        offset = _offset(n_bits, is_signed)
        steps = 2**n_bits - 1
        if high - low < FLAT:
            scale, zero_point = (high, 0) if high > FLAT else (1.0, 0)
            if low < -FLAT:
                scale, zero_point = -low, (0 if is_signed else 1)
        elif is_symmetric:
            scale, zero_point = max(abs(low), abs(high)) / max(1, steps - offset), 0
        else:
            scale = (high - low) / steps
            zero_point = round(-low / scale - offset)
        return cls(n_bits, scale, zero_point, is_signed, is_symmetric)

    def quant(self, values: Any) -> Array:
        """The integers (int64) of values; beyond the range, its nearest end."""
        if isinstance(values, Traced):
            return values.quantized(self)  # type: ignore[return-value]
        first = -_offset(self.n_bits, self.is_signed)
        q = np.rint(np.asarray(values, np.float64) / self.scale) + self.zero_point
        return np.asarray(np.clip(q, first, first + 2**self.n_bits - 1), np.int64)

    def dequant(self, qvalues: Any) -> Array:
        """The values (float64) of integers."""
        if isinstance(qvalues, Traced):
            return self.scale * (qvalues - self.zero_point)  # type: ignore[no-any-return]
        return np.asarray(self.scale * (np.asarray(qvalues) - self.zero_point), np.float64)

    def dump_dict(self) -> dict[str, Any]:
        return {**asdict(self), "scale": float(self.scale)}

    @classmethod
    def load_dict(cls, metadata: Any) -> UniformQuantizer:
        return cls(
            field(metadata, "n_bits", int),
            field(metadata, "scale", float),
            field(metadata, "zero_point", int),
            field(metadata, "is_signed", bool),
            field(metadata, "is_symmetric", bool),
        )


class QuantizedArray(Serializable):
    """Values together with their integers.

    n_bits: of the integers.
    values: floats, to be quantized; or integers, if `value_is_float` is false, to be dequantized.
    is_signed, is_symmetric: as of `UniformQuantizer`.
    scale, zero_point: fixed in advance. Without them, floats determine their own; integers need
        them.

    Errors: I003 where values are not finite, I005 where integers come without a scale.
    """

    def __init__(
        self,
        n_bits: int,
        values: Any,
        value_is_float: bool = True,
        is_signed: bool = False,
        is_symmetric: bool = False,
        scale: float | None = None,
        zero_point: int | None = None,
    ) -> None:
        array: Any = values if isinstance(values, Traced) else np.asarray(values)
        if scale is not None:
            self.quantizer = UniformQuantizer(
                n_bits, float(scale), int(zero_point or 0), is_signed, is_symmetric
            )
        elif zero_point is not None:
            raise InputError("I005", "a zero point was given without a scale")
        elif value_is_float:
            self.quantizer = UniformQuantizer.fitted(
                array.astype(np.float64), n_bits, is_signed, is_symmetric
            )
        else:
            raise InputError(
                "I005",
                "integers alone do not tell which values they stand for",
                help="give `scale` and `zero_point` with value_is_float=False",
            )
        self.values: Array
        self.qvalues: Array
        if value_is_float:
            self.update_values(array)
        else:
            self.update_quantized_values(array)

    @classmethod
    def under(
        cls, quantizer: UniformQuantizer, values: Any, value_is_float: bool = True
    ) -> QuantizedArray:
        """Values, or integers, of a quantizer that exists."""
        q = quantizer
        return cls(
            q.n_bits, values, value_is_float, q.is_signed, q.is_symmetric, q.scale, q.zero_point
        )

    @property
    def n_bits(self) -> int:
        return self.quantizer.n_bits

    @property
    def scale(self) -> float:
        return self.quantizer.scale

    @property
    def zero_point(self) -> int:
        return self.quantizer.zero_point

    def quant(self) -> Array:
        """Quantize `values` anew: `qvalues`."""
        self.qvalues = self.quantizer.quant(self.values)
        return self.qvalues

    def dequant(self) -> Array:
        """The values that `qvalues` stand for; they become `values`."""
        self.values = self.quantizer.dequant(self.qvalues)
        return self.values

    def update_values(self, values: Any) -> Array:
        """Take new values under the same quantizer. Returns their `qvalues`."""
        array: Any = values if isinstance(values, Traced) else np.asarray(values, np.float64)
        self.values = array
        return self.quant()

    def update_quantized_values(self, qvalues: Any) -> Array:
        """Take new integers under the same quantizer. Returns their `values`."""
        array: Any = qvalues if isinstance(qvalues, Traced) else np.asarray(qvalues)
        if not np.issubdtype(array.dtype, np.integer):
            raise InputError("I002", f"quantized values are integers, not {array.dtype}")
        self.qvalues = array.astype(np.int64)
        return self.dequant()

    def dump_dict(self) -> dict[str, Any]:
        return {"quantizer": self.quantizer.dump_dict(), "qvalues": entries_of(self.qvalues)} | {
            "values": entries_of(self.values)
        }

    @classmethod
    def load_dict(cls, metadata: Any) -> QuantizedArray:
        quantizer = UniformQuantizer.load_dict(field(metadata, "quantizer", dict))
        found = cls.under(quantizer, array_of(metadata, "qvalues", "i"), value_is_float=False)
        found.values = array_of(metadata, "values", "f")
        return found

    def __repr__(self) -> str:
        return f"QuantizedArray({self.qvalues!r}, {self.quantizer!r})"


def _check_bits(n_bits: Any) -> None:
    if isinstance(n_bits, bool) or not isinstance(n_bits, int) or not 1 <= n_bits <= MAX_BITS:
        raise InputError("I005", f"n_bits={n_bits!r} is not a number of bits from 1 to {MAX_BITS}")


def _offset(n_bits: int, is_signed: bool) -> int:
    return 2 ** (n_bits - 1) if is_signed else 0
