"""A circuit on its way into text: the writer, the encodings, and what is written already."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lutra.backends.concrete.mlir import Ref, Writer
from lutra.ir.core import Op, Value
from lutra.ir.types import Ints


class Emitter:
    """Maps the circuit's values to the tensors of the text; a scalar is a tensor of one element."""

    def __init__(self, bits: Mapping[Value, int]) -> None:
        self.writer = Writer()
        self.bits = bits
        self.refs: dict[Value, Ref] = {}

    def read(self, value: Value, op: Op) -> Ref:
        """An operand in the encoding of the operation's result."""
        return self.writer.keep_low(self.refs[value], self.bits[op.result])

    def shaped(self, ref: Ref, value: Value) -> Ref:
        """The elements of `ref` under the shape of `value`."""
        return self.writer.reshape(ref, value.shape or (1,))

    def lookup(
        self, x: Ref, base: int, table: Ints, bits: int, lsbs: int = 0, exact: bool = False
    ) -> Ref:
        """table[..., y - base] in `bits` bits; y is x with its `lsbs` lowest bits rounded off."""
        index = self.writer.add_clear(x, np.array([-base << lsbs]))
        index = self.writer.keep_low(index, table.shape[-1].bit_length() - 1 + lsbs)
        if lsbs:
            index = self.writer.round(index, lsbs, exact)
        return self.writer.lookup(index, table, bits)


Emission = Callable[[Emitter, Any], Ref | None]
"""Writes one operation; gives the tensor that stands for its result, if anything does."""
