"""Bit-widths by role and by layer, as options of passes."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TypeAlias

from lutra.ir.errors import PipelineError

Bits: TypeAlias = int | tuple[tuple[str, int], ...]
"""One number for all layers, or (pattern, bits) pairs: the first pattern that matches one of the
layer's ONNX node names decides."""


def bits_for(bits: Bits, names: Sequence[str], option: str) -> int:
    """The bits that `bits` gives to the layer of these ONNX names. Error P002 if none match."""
    if isinstance(bits, int):
        return bits
    for pattern, number in bits:
        if any(fnmatchcase(name, pattern) for name in names) or pattern == "*":
            return number
    raise PipelineError(
        "P002",
        f"option `{option}` gives no bits to this layer",
        nodes=names,
        help=f'add a default: {option}={{..., "*"=8}}',
    )


def check_bits(bits: Bits, option: str, low: int = 1, high: int = 16) -> None:
    """Error P002 unless all numbers are within low..high."""
    for number in [n for _, n in bits] if isinstance(bits, tuple) else [bits]:
        if type(number) is not int or not low <= number <= high:
            raise PipelineError("P002", f"`{option}` is {number!r}, not within {low} to {high}")


def highest(bits: Bits) -> int:
    """The largest number of bits that `bits` gives to any layer."""
    return bits if isinstance(bits, int) else max(number for _, number in bits)
