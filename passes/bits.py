"""Bit-widths, and yes or no, by role and by layer, as options of passes."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TypeAlias

from lutra.ir.core import Module
from lutra.ir.errors import PipelineError, did_you_mean
from lutra.passes.base import Pass

Patterns: TypeAlias = tuple[tuple[str, int], ...]
Switches: TypeAlias = tuple[tuple[str, bool], ...]

Bits: TypeAlias = int | Patterns
"""One number for all layers, or (pattern, bits) pairs: the first pattern that matches one of the
layer's ONNX node names decides."""

Switch: TypeAlias = bool | Switches
"""Yes or no for all layers, or by their names in the same way; no for those that nothing names."""


class BitsError(PipelineError):
    """An option gives no bits to a layer: P002."""

    def __init__(self, bits: Patterns, option: str, names: Sequence[str]) -> None:
        super().__init__(
            "P002",
            f"option `{option}` gives no bits to this layer",
            nodes=names,
            help=f'add a default: {option}={{..., "*"=8}}',
        )
        self._bits, self._option = bits, option

    def of(self, item: Pass) -> BitsError:
        """The same by the name that the option has in a pass, which stands for the failing one."""
        options = item.options()
        if options.get(self._option) == self._bits:
            return self
        own = [name for name, value in options.items() if value == self._bits]
        return BitsError(self._bits, own[0], self.nodes) if own else self


def bits_for(bits: Bits, names: Sequence[str], option: str) -> int:
    """The bits that `bits` gives to the layer of these ONNX names. Error P002 if none match."""
    if isinstance(bits, int):
        return bits
    for pattern, number in bits:
        if _matches(pattern, names):
            return number
    raise BitsError(bits, option, names)


def switched(switch: Switch, names: Sequence[str]) -> bool:
    """What `switch` says of the layer of these ONNX names."""
    if isinstance(switch, bool):
        return switch
    return next((on for pattern, on in switch if _matches(pattern, names)), False)


def check_switch(switch: Switch, option: str) -> None:
    """Error P002 unless all that is said is true or false."""
    for value in [on for _, on in switch] if isinstance(switch, tuple) else [switch]:
        if type(value) is not bool:
            raise PipelineError("P002", f"`{option}` is {value!r}, neither true nor false")


def _matches(pattern: str, names: Iterable[str]) -> bool:
    return pattern == "*" or any(fnmatchcase(name, pattern) for name in names)


def check_patterns(items: Iterable[Pass], module: Module) -> None:
    """Error P002 for a pattern in the passes' options that no node of the module matches."""
    names = {name for graph in module.graphs.values() for op in graph.ops for name in op.loc}
    for item in items:
        for option, pattern in _patterns(item):
            if not _matches(pattern, names):
                near = did_you_mean(pattern.strip("*"), sorted(names)) if names else ""
                raise PipelineError(
                    "P002",
                    f"option `{option}` of pass `{item.name}`: no layer matches {pattern!r}",
                    help=near or "the model's nodes have no names",
                )


def _patterns(item: Pass) -> Iterator[tuple[str, str]]:
    """Options and the patterns in them."""
    for option, value in item.options().items():
        maps = {Patterns, Switches}.intersection(_alternatives(type(item), option))
        if isinstance(value, tuple) and maps:
            for pattern, _ in value:
                yield option, pattern


def _alternatives(cls: type[Pass], option: str) -> tuple[object, ...]:
    return typing.get_args(typing.get_type_hints(cls)[option])


def check_bits(bits: Bits, option: str, low: int = 1, high: int = 16) -> None:
    """Error P002 unless all numbers are within low..high."""
    for number in [n for _, n in bits] if isinstance(bits, tuple) else [bits]:
        if type(number) is not int or not low <= number <= high:
            raise PipelineError("P002", f"`{option}` is {number!r}, not within {low} to {high}")


def highest(bits: Bits) -> int:
    """The largest number of bits that `bits` gives to any layer."""
    return bits if isinstance(bits, int) else max(number for _, number in bits)
