"""Operations that bootstrap: table look-ups and what is built of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lutra.ir import arith
from lutra.ir.core import Op, Value, op
from lutra.ir.types import Array, Int, Ints, compress, frozen


@op("lookup")
class Lookup(Op):
    """table[..., x - base]: any function of one encrypted integer, one PBS per element.

    `table` is [..., n] with n a power of two; its leading axes broadcast against x, so that every
    channel or element may have a table of its own. Outside [base, base + n) the meaning is the one
    of a programmable bootstrap, whose table is negacyclic (Chillotti et al., "TFHE: Fast Fully
    Homomorphic Encryption over the Torus", J. Cryptology 2020): with i = (x - base) mod 2n, the
    result is table[i] for i < n and -table[i - n] beyond.
    """

    x: Value
    base: int
    table: Ints

    def normalise(self) -> None:
        self.table = frozen(compress_table(np.asarray(self.table, dtype=np.int64)))

    @property
    def entries(self) -> int:
        return int(self.table.shape[-1])

    def check(self) -> Iterator[str]:
        n, x = self.entries, self.x.int_type
        if n < 2 or n & (n - 1):
            yield f"a table has {n} entries, not a power of two"
        elif x.min < self.base or x.max >= self.base + n:
            yield (
                f"the input's range [{x.min}, {x.max}] leaves the table's "
                f"[{self.base}, {self.base + n - 1}]"
            )
        lead = self.table.shape[:-1]
        try:
            fits = np.broadcast_shapes(lead, x.shape) == x.shape
        except ValueError:
            fits = False
        if not fits:
            yield f"tables of shape {lead} do not broadcast to x {x.shape}"

    def infer(self) -> Int:
        x = self.x.int_type
        lo, hi = np.broadcast_arrays(x.lo - self.base, x.hi - self.base)
        if self.table.ndim == 1:
            pairs, where = np.unique(
                np.stack([lo.ravel(), hi.ravel()]), axis=1, return_inverse=True
            )
            reach = [self.table[a : b + 1] for a, b in pairs.T]
            where = where.reshape(lo.shape)
            low, high = (np.array([f(part) for part in reach])[where] for f in (np.min, np.max))
            return Int.of(x.shape, low, high)
        entry = np.arange(self.entries)
        live = (entry >= lo[..., None]) & (entry <= hi[..., None])
        big = np.iinfo(np.int64)
        low = np.where(live, self.table, big.max).min(-1)
        high = np.where(live, self.table, big.min).max(-1)
        return Int.of(x.shape, low, high)

    def eval(self, x: Array) -> Array:
        n = self.entries
        index = (x - self.base) & (2 * n - 1)
        table = np.concatenate([self.table, -self.table], axis=-1)
        lead = table.shape[:-1]
        if not lead:
            return table[index]
        which = np.arange(int(np.prod(lead)), dtype=np.int64).reshape(lead)
        return table.reshape(-1)[which * (2 * n) + index]


@op("round")
class Round(Op):
    """(x + 2^(lsbs-1)) >> lsbs: drop the lowest bits, to nearest, halves up.

    The result is the short integer. Exact rounding costs one 1-bit PBS for each dropped bit;
    approximate rounding (`exact=false`) costs nothing, but may be off by one near the middle
    between two results. Read by look-ups only.
    """

    x: Value
    lsbs: int
    exact: bool = False

    def check(self) -> Iterator[str]:
        if not 1 <= self.lsbs <= 61:
            yield f"lsbs={self.lsbs} is not within 1 to 61"

    def infer(self) -> Int:
        x = self.x.int_type
        return Int.of(x.shape, self.eval(x.lo), self.eval(x.hi))

    def eval(self, x: Array) -> Array:
        return (x + (1 << (self.lsbs - 1))) >> self.lsbs


@op("max")
class Max(Op):
    """The larger of two encrypted values of one shape: one PBS on their difference."""

    x: Value
    y: Value

    def check(self) -> Iterator[str]:
        if self.x.shape != self.y.shape:
            yield f"shapes {self.x.shape} and {self.y.shape} differ"

    def infer(self) -> Int:
        x, y = self.x.int_type, self.y.int_type
        return Int.of(x.shape, np.maximum(x.lo, y.lo), np.maximum(x.hi, y.hi))

    def difference(self) -> Int:
        """Type of x - y, which is what the PBS reads."""
        x, y = self.x.int_type, self.y.int_type
        return Int.of(x.shape, x.lo - y.hi, x.hi - y.lo)

    def eval(self, x: Array, y: Array) -> Array:
        return np.maximum(x, y)


@op("mul")
class Mul(Op):
    """x * y, both encrypted and of one shape: two PBS, one bit wider than the operands."""

    x: Value
    y: Value

    def check(self) -> Iterator[str]:
        if self.x.shape != self.y.shape:
            yield f"shapes {self.x.shape} and {self.y.shape} differ"

    def infer(self) -> Int:
        x, y = self.x.int_type, self.y.int_type
        return Int.of(x.shape, *arith.product_bounds((x.lo, x.hi), (y.lo, y.hi)))

    def eval(self, x: Array, y: Array) -> Array:
        return x * y


@op("assume")
class Assume(Op):
    """x, of which calibration saw only lo <= x <= hi.

    The type is narrowed to that; the meaning is the identity. A value outside is an event that the
    interpreter counts, and look-ups behind it wrap as real ones do.
    """

    x: Value
    lo: Ints
    hi: Ints

    def normalise(self) -> None:
        self.lo, self.hi = (frozen(np.asarray(bound), np.int64) for bound in (self.lo, self.hi))

    def check(self) -> Iterator[str]:
        if (self.lo > self.hi).any():
            yield "lo is above hi"
        for bound in (self.lo, self.hi):
            if np.broadcast_shapes(bound.shape, self.x.shape) != self.x.shape:
                yield f"bounds of shape {bound.shape} do not broadcast to x {self.x.shape}"

    def infer(self) -> Int:
        x = self.x.int_type
        return Int.of(x.shape, np.clip(self.lo, x.lo, x.hi), np.clip(self.hi, x.lo, x.hi))

    def eval(self, x: Array) -> Array:
        return x

    def violations(self, x: Array) -> int:
        """How many elements of x lie outside."""
        return int(((x < self.lo) | (x > self.hi)).sum())


def compress_table(table: Ints) -> Ints:
    """Drop leading axes along which all tables are the same."""
    table = compress(table, keep=1)
    return table.reshape(-1) if table.size == table.shape[-1] else table
