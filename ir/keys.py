"""Attributes as keys of dictionaries: equal where, and only where, the attributes are."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

from lutra.ir.types import Array, Tensor

SMALL = 256
"""Arrays of no more bytes are compared by a copy of them."""


def key_of(value: Any) -> Hashable:
    """A key for an attribute: a number, a text, a type, an array, a list or mapping of such."""
    kind = type(value)
    if kind is str or kind is int:
        return value  # type: ignore[no-any-return]
    if kind is tuple or kind is list:
        return tuple([key_of(item) for item in value])
    if kind is Tensor:
        return value.shape, value.dtype
    if kind is dict and not value:
        return ()
    if isinstance(value, np.ndarray):
        return _array_key(value)
    if kind is dict or isinstance(value, Mapping):
        return tuple([(name, key_of(value[name])) for name in sorted(value)]) if value else ()
    return kind, value  # 1, 1.0 and True are equal to Python


def _array_key(array: Array) -> Hashable:
    if array.dtype == object:
        return array.shape, key_of(array.ravel().tolist())
    if array.nbytes <= SMALL:
        return array.dtype, array.shape, array.tobytes()
    return _LargeArray(array)


class _LargeArray:
    """An array of which the key reads few elements, and all of them only beside one alike."""

    __slots__ = ("array", "kind", "sample")

    def __init__(self, array: Array) -> None:
        self.array = array
        self.kind = array.dtype, array.shape
        self.sample = array.flat[:: max(1, array.size // 16)].tobytes()

    def __hash__(self) -> int:
        return hash((self.kind, self.sample))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _LargeArray)
            and self.kind == other.kind
            and (self.array is other.array or _same_bits(self.array, other.array))
        )


def _same_bits(first: Array, second: Array) -> bool:
    if first.itemsize in (1, 2, 4, 8):  # views, in whatever order the elements are held
        bits = f"u{first.itemsize}"
        return np.array_equal(first.view(bits), second.view(bits))
    return first.tobytes() == second.tobytes()
