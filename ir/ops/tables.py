"""Operations that bootstrap: table look-ups and what is built of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from lutra.ir import arith
from lutra.ir.core import Op, Value, op
from lutra.ir.types import Array, Int, Ints, broadcasts_to, compress, extent, frozen, frozen_ints

REFUSED, NEGACYCLIC = "refused", "negacyclic"
"""What becomes of look-ups whose input's range leaves the table."""


@op("lookup")
class Lookup(Op):
    """table[..., x - base]: any function of one encrypted integer, one PBS per element.

    `table` is [..., n] with n a power of two; its leading axes broadcast against x, so that every
    channel or element may have a table of its own. Outside [base, base + n) the meaning is the one
    of a programmable bootstrap, whose table is negacyclic (Chillotti et al., "TFHE: Fast Fully
    Homomorphic Encryption over the Torus", J. Cryptology 2020): with i = (x - base) mod 2n, the
    result is table[i] for i < n and -table[i - n] beyond. An input whose range reaches there is
    refused as a mistake, unless `beyond=negacyclic` says that this is meant.
    """

    x: Value
    base: int
    table: Ints
    beyond: str = REFUSED

    def normalise(self) -> None:
        self.table = frozen(compress_table(np.atleast_1d(frozen_ints(self.table))))

    @property
    def entries(self) -> int:
        return int(self.table.shape[-1])

    @property
    def index_bits(self) -> int:
        """Bits of what the bootstrap reads: the table's entries, whatever x's range is."""
        return self.entries.bit_length() - 1

    def check(self) -> Iterator[str]:
        n, x = self.entries, self.x.int_type
        if n < 2 or n & (n - 1):
            yield f"a table has {n} entries, not a power of two"
        elif self.beyond not in (REFUSED, NEGACYCLIC):
            yield f"beyond={self.beyond!r} is neither {REFUSED!r} nor {NEGACYCLIC!r}"
        elif self.beyond == REFUSED and (x.min < self.base or x.max >= self.base + n):
            yield (
                f"the input's range [{x.min}, {x.max}] leaves the table's "
                f"[{self.base}, {self.base + n - 1}]"
            )
        if not broadcasts_to(self.table.shape[:-1], x.shape):
            yield f"tables of shape {self.table.shape[:-1]} do not broadcast to x {x.shape}"

    @property
    def which(self) -> Ints:
        """Number of the table that each element of x reads, counted over the leading axes."""
        lead = self.table.shape[:-1]
        return np.arange(int(np.prod(lead)), dtype=np.int64).reshape(lead)

    def infer(self) -> Int:
        x, n = self.x.int_type, self.entries
        if x.min < self.base or x.max >= self.base + n:  # both halves count
            reach = np.abs(self.table).max(-1)
            return Int.of(x.shape, -reach, reach)
        starts = self.which * n - self.base
        return Int.of(x.shape, *extremes(self.table.reshape(-1), starts + x.lo, starts + x.hi))

    def eval(self, x: Array) -> Array:
        n = self.entries
        index = (x - self.base) & (2 * n - 1)
        entry = self.table.reshape(-1)[self.which * n + (index & (n - 1))]
        return np.where(index < n, entry, -entry)


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
    """The larger of two encrypted values of one shape: one PBS on their difference.

    It looks |x - y| up, for (x + y + |x - y|) / 2. For |d| <= 2^c, |d| - 2^(c-1) changes its sign
    when d moves by 2^c, as negacyclic tables do, so that 2^c entries serve all differences.
    """

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

    @property
    def index_bits(self) -> int:
        """Bits of what the bootstrap reads: the smallest c with |x - y| <= 2^c, at least 1."""
        distance = self.difference()
        return max(1, (max(-distance.min, distance.max, 1) - 1).bit_length())

    def eval(self, x: Array, y: Array) -> Array:
        return np.maximum(x, y)


@op("mul")
class Mul(Op):
    """x * y, of one shape: two PBS, one of them for x * x, none where x or y is clear.

    It looks squares up: floor((x+y)^2 / 4) - floor((x-y)^2 / 4), which is exact, as x + y and
    x - y are both even or both odd.
    """

    x: Value
    y: Value

    def check(self) -> Iterator[str]:
        if self.x.shape != self.y.shape:
            yield f"shapes {self.x.shape} and {self.y.shape} differ"

    def infer(self) -> Int:
        x, y = self.x.int_type, self.y.int_type
        return Int.of(x.shape, *arith.product_bounds((x.lo, x.hi), (y.lo, y.hi)))

    def squared(self) -> tuple[Int, ...]:
        """Types of what bootstraps square: x + y and x - y, x alone if y is the same, or nothing.

        Clear integers multiply without bootstrap.
        """
        x, y = self.x.int_type, self.y.int_type
        if self.x.clear or self.y.clear:
            return ()
        if self.x is self.y:
            return (x,)
        return (
            Int.of(x.shape, x.lo + y.lo, x.hi + y.hi),
            Int.of(x.shape, x.lo - y.hi, x.hi - y.lo),
        )

    @property
    def index_bits(self) -> int:
        """Bits of what the wider of the bootstraps reads; 0 where there are none."""
        return max((type.span_bits for type in self.squared()), default=0)

    def eval(self, x: Array, y: Array) -> Array:
        return arith.multiply(x, y)


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
        self.lo, self.hi = frozen_ints(self.lo), frozen_ints(self.hi)

    def check(self) -> Iterator[str]:
        misfits = [b.shape for b in (self.lo, self.hi) if not broadcasts_to(b.shape, self.x.shape)]
        if misfits:
            yield f"bounds of shape {misfits[0]} do not broadcast to x {self.x.shape}"
        elif (self.lo > self.hi).any():
            yield "lo is above hi"

    def infer(self) -> Int:
        x = self.x.int_type
        return Int.of(x.shape, np.clip(x.lo, self.lo, self.hi), np.clip(x.hi, self.lo, self.hi))

    def eval(self, x: Array) -> Array:
        return x

    def violations(self, x: Array) -> int:
        """How many elements of x lie outside."""
        return int(((x < self.lo) | (x > self.hi)).sum())


def extremes(table: Ints, first: Ints, last: Ints) -> tuple[ArrayLike, ArrayLike]:
    """Least and greatest entries of table[first : last + 1], for every first and its last.

    table is a vector; the others broadcast to the shape of the results, with first <= last.
    """
    if first.size == last.size == 1:
        return extent(table[first.item() : last.item() + 1])
    first, last = np.broadcast_arrays(first, last)
    spans, where = np.unique(first * len(table) + last, return_inverse=True)
    ends = np.stack([spans // len(table), spans % len(table) + 1], axis=-1).reshape(-1)
    closed = np.append(table, 0)  # for spans that end with the table
    low, high = (reduce.reduceat(closed, ends)[::2] for reduce in (np.minimum, np.maximum))
    return low[where].reshape(first.shape), high[where].reshape(first.shape)


def compress_table(table: Ints) -> Ints:
    """Drop leading axes along which all tables are the same."""
    table = compress(table, keep=1)
    return table.reshape(-1) if table.size == table.shape[-1] else table
