"""A circuit on its way into text: the writer, the encodings, and what is written already."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lutra.backends.concrete.mlir import Clear, Ref, Writer
from lutra.ir import ops
from lutra.ir.core import Op, Value
from lutra.ir.types import Ints


class Emitter:
    """Maps the circuit's values to the tensors of the text; a scalar is a tensor of one element.

    Inputs that stay clear are in `clear`, and become ciphertexts without noise where such are read.
    """

    def __init__(self, bits: Mapping[Value, int]) -> None:
        self.writer = Writer()
        self.bits = bits
        self.refs: dict[Value, Ref] = {}
        self.clear: dict[Value, Clear] = {}

    def ref(self, value: Value) -> Ref:
        """A value as ciphertexts, in its own encoding."""
        if value in self.clear and value not in self.refs:
            c = self.clear[value]
            self.refs[value] = self.writer.constant(c.shape, c, self.bits[value])
        return self.refs[value]

    def read(self, value: Value, op: Op) -> Ref:
        """An operand in the encoding of the operation's result."""
        return self.writer.keep_low(self.ref(value), self.bits[op.result])

    def parted(self, op: ops.Add | ops.Mul) -> tuple[Ref, Clear] | None:
        """The encrypted operand, in the encoding of the result, and the one that is clear, if any.

        Which of them comes first does not count.
        """
        for x, c in ((op.x, op.y), (op.y, op.x)):
            if c in self.clear:
                return self.read(x, op), self.clear[c]
        return None

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
