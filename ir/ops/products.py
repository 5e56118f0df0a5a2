"""Products of matrices both of which are known at run time only."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lutra.ir import arith
from lutra.ir.core import Op, Value, op
from lutra.ir.ops.linear import Sum
from lutra.ir.ops.movement import Broadcast, Reshape
from lutra.ir.ops.tables import Mul
from lutra.ir.types import Array, Int, Ints, Shape


@op("matmul_values")
class MatMulValues(Op):
    """x @ y: x [..., M, K] and y [..., K, N], as numpy's matmul, of values that run time brings.

    Levelled where one of them is clear. Of two encrypted ones each product is a `mul`.
    """

    x: Value
    y: Value

    def check(self) -> Iterator[str]:
        x, y = self.x.shape, self.y.shape
        if min(len(x), len(y)) < 2 or x[-1] != y[-2]:
            yield f"x {x} cannot be multiplied by y {y}"
            return
        try:
            np.broadcast_shapes(x[:-2], y[:-2])
        except ValueError:
            yield f"shapes {x} and {y} do not broadcast"

    @property
    def _lead(self) -> Shape:
        return np.broadcast_shapes(self.x.shape[:-2], self.y.shape[:-2])

    def infer(self) -> Int:
        x, y = self.x.int_type, self.y.int_type
        rows = (x.lo[..., None], x.hi[..., None])  # [..., M, K, 1]
        columns = (_before(y.lo), _before(y.hi))  # [..., 1, K, N]
        lo, hi = arith.product_bounds(rows, columns)
        shape = (*self._lead, self.x.shape[-2], self.y.shape[-1])
        return Int.of(shape, self._summed(lo), self._summed(hi))

    def _summed(self, products: Ints) -> Ints:
        """Sums over the axis K, which is short where all its elements are the same."""
        terms = self.x.shape[-1] if products.shape[-2] == 1 else 1
        total = arith.total(products, (products.ndim - 2,), keepdims=False)
        return arith.multiply(total, np.array(terms))

    def eval(self, x: Array, y: Array) -> Array:
        rank = len(self.result.shape)
        return arith.matmul(arith.align(x, rank), arith.align(y, rank))

    def decompose(self) -> Value | None:
        if self.x.clear or self.y.clear:
            return None
        (m, k), n = self.x.shape[-2:], self.y.shape[-1]
        shape = (*self._lead, m, k, n)
        x = Reshape(self.x, (*self.x.shape, 1)).result
        y = Reshape(self.y, (*self.y.shape[:-2], 1, k, n)).result
        product = Mul(Broadcast(x, shape).result, Broadcast(y, shape).result)
        return Sum(product.result, (len(shape) - 2,), keepdims=False).result


def _before(bound: Ints) -> Ints:
    """A bound of [..., K, N] with an axis before these two."""
    return np.expand_dims(bound, -3)
