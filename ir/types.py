"""Types of values: float-level tensors, and integers that carry their exact range.

A type is a frozen value. The bit-width is a property of the range and is stored nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lutra.ir.errors import VerifyError

Array: TypeAlias = NDArray[Any]
Ints: TypeAlias = NDArray[np.int64]
Shape: TypeAlias = tuple[int, ...]

MAX_MAGNITUDE = 1 << 62
"""Integers of the IR stay below it. They are held in int64: sums of two cannot wrap unseen."""


SMALL = 64
"""Arrays of no more elements are faster searched by Python than by numpy."""


def frozen(array: ArrayLike, dtype: Any = None, *, contiguous: bool = True) -> Array:
    """A read-only copy, or the array itself if it is that already.

    contiguous: in C order; else any order will do, and a transposed array need not be copied.
    """
    result = np.asarray(array, dtype=dtype)
    shared = isinstance(result.base, np.ndarray) and result.base.flags.writeable
    if result.flags.writeable or shared or (contiguous and not result.flags.c_contiguous):
        result = np.array(result, order="C")
        result.flags.writeable = False
    return result


def sealed(array: Array) -> Array:
    """An array just made, of which nobody else will write: read-only, so that nothing copies it."""
    view: Any = array
    while isinstance(view, np.ndarray):
        view.flags.writeable = False
        view = view.base
    return array


def frozen_ints(array: ArrayLike) -> Ints:
    """A read-only int64 copy. VerifyError (V001) where that would change a number."""
    given = np.asarray(array)
    if given.size and given.dtype.kind not in "iub":
        if given.dtype.kind != "f":
            raise VerifyError("V001", f"integers are expected, got {given.dtype}")
        wrong = given[~(np.abs(given) < MAX_MAGNITUDE) | (given != np.rint(given))]
        if wrong.size:
            raise VerifyError("V001", f"integers are expected, got {wrong[0]}")
    return frozen(given, np.int64)


def broadcasts_to(source: Shape, target: Shape) -> bool:
    """Whether an array of shape `source` broadcasts to `target` without enlarging it."""
    return len(source) <= len(target) and all(
        size in (1, goal) for size, goal in zip(reversed(source), reversed(target), strict=False)
    )


def compress(array: Array, *, keep: int = 0) -> Array:
    """The same array with size 1 on every axis along which it is constant.

    The last `keep` axes stay as they are.

    >>> compress(np.array([[1, 1], [2, 2]])).tolist()
    [[1], [2]]
    """
    for axis, size in enumerate(array.shape[: array.ndim - keep]):
        if size > 1:
            first = array[(slice(None),) * axis + (slice(0, 1),)]
            if (array == first).all():
                array = first
    return array


def largest(array: Array) -> int | float:
    """The largest magnitude in an array, exactly: a Python integer for integers."""
    if array.dtype.kind == "f":
        return float(np.abs(array).max(initial=0))
    least, greatest = extent(array)
    return max(-least, greatest)


def extent(array: Array) -> tuple[int, int]:
    """Least and greatest of an array's integers; (0, 0) where there are none."""
    if array.size > SMALL:
        return int(array.min()), int(array.max())
    numbers = array.ravel().tolist() or (0,)
    return min(numbers), max(numbers)


@lru_cache(maxsize=1 << 14)
def uniform(rank: int, number: int) -> Ints:
    """One number with `rank` axes of size 1: a bound that is the same for all elements."""
    return frozen(np.full((1,) * rank, number, np.int64))


def text_of_shape(shape: Shape) -> str:
    return "x".join(map(str, shape))


@dataclass(frozen=True)
class Tensor:
    """A float-level tensor: what ONNX knows of a value. `dtype` is a numpy type name."""

    shape: Shape
    dtype: str = "float32"

    def __str__(self) -> str:
        return f"{self.dtype}[{text_of_shape(self.shape)}]"


@dataclass(frozen=True, eq=False)
class Int:
    """Integers of a known range: `lo <= value <= hi` for every element.

    `lo` and `hi` are int64 arrays that broadcast to `shape`, with size 1 on every axis along which
    they are constant: channels and features keep ranges of their own.
    """

    shape: Shape
    lo: Ints
    hi: Ints
    min: int = field(init=False)
    max: int = field(init=False)

    def __post_init__(self) -> None:
        lo, least, low_ends = self._bound(self.lo)
        hi, high_ends, greatest = self._bound(self.hi)
        for name, value in (("lo", lo), ("hi", hi), ("min", least), ("max", greatest)):
            object.__setattr__(self, name, value)
        if low_ends > high_ends and (lo > hi).any():
            raise VerifyError("V001", f"a range is empty: [{self.min}, {self.max}]")

    def _bound(self, given: ArrayLike) -> tuple[Ints, int, int]:
        """A bound in its one form, and its least and greatest number."""
        bound, rank = np.asarray(given), len(self.shape)
        if bound.dtype != np.int64:
            _refuse_beyond(largest(bound))
            bound = bound.astype(np.int64)
        least, greatest = extent(bound)
        _refuse_beyond(max(-least, greatest))
        if not broadcasts_to(bound.shape, self.shape):
            raise VerifyError("V001", f"bounds {bound.shape} do not fit shape {self.shape}")
        if bound.size and least == greatest:
            return uniform(rank, least), least, greatest
        aligned = bound.reshape((1,) * (rank - bound.ndim) + bound.shape)
        return frozen(compress(aligned)), least, greatest

    @classmethod
    def bits_of(cls, shape: Sequence[int], bits: int, signed: bool = False) -> Int:
        """The full range of `bits` bits: [0, 2^bits - 1], or [-2^(bits-1), 2^(bits-1) - 1]."""
        lo = -(1 << (bits - 1)) if signed else 0
        return cls.of(shape, lo, lo + (1 << bits) - 1)

    @classmethod
    def of(cls, shape: Sequence[int], lo: ArrayLike, hi: ArrayLike) -> Int:
        return cls(tuple(shape), np.asarray(lo), np.asarray(hi))

    @property
    def signed(self) -> bool:
        return self.min < 0

    @property
    def bits(self) -> int:
        """Bits of the smallest integer format that holds the whole range, sign included."""
        if self.signed:
            return max((-self.min - 1).bit_length(), max(0, self.max).bit_length()) + 1
        return max(1, self.max.bit_length())

    @property
    def span_bits(self) -> int:
        """Bits that tell the integers of the whole range apart, at least 1."""
        return max(1, (self.max - self.min).bit_length())

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Int)
            and self.shape == other.shape
            and _same(self.lo, other.lo)
            and _same(self.hi, other.hi)
        )

    def __hash__(self) -> int:
        return hash((self.shape, self.min, self.max))

    def __str__(self) -> str:
        kind = "i" if self.signed else "u"
        return f"{kind}{self.bits}[{text_of_shape(self.shape)}] in [{self.min}, {self.max}]"


def _refuse_beyond(reach: float) -> None:
    if not reach < MAX_MAGNITUDE:
        raise VerifyError(
            "V004",
            f"a value reaches {float(reach):.3g}",
            help="lower the bits of weights and activations, or insert a look-up",
        )


def _same(bound: Ints, other: Ints) -> bool:
    return bound is other or (bound.shape == other.shape and bound.tobytes() == other.tobytes())


Type: TypeAlias = Tensor | Int
