"""Operations of a plugin, for tests."""

from __future__ import annotations

import numpy as np

from lutra.ir.core import Op, Value, op
from lutra.ir.ops import Lookup
from lutra.ir.types import Array, Int


@op("example.square")
class Square(Op):
    """x * x, as a plugin might declare it; the examples of `decompose` hold one."""

    x: Value

    def infer(self) -> Int:
        x = self.x.int_type
        return Int.of(x.shape, 0, np.maximum(x.lo**2, x.hi**2))

    def eval(self, x: Array) -> Array:
        return x * x

    def decompose(self) -> Value:
        type = self.x.int_type
        base = -(1 << (type.bits - 1)) if type.signed else 0
        return Lookup(self.x, base, (base + np.arange(1 << type.bits)) ** 2).result
