"""Levelled operations: linear in their encrypted operands, no bootstrap."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lutra.ir import arith
from lutra.ir.core import Op, Value, op
from lutra.ir.types import Array, Int, Ints, Shape, broadcasts_to, frozen_ints


def _broadcasts(*shapes: Shape) -> Iterator[str]:
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        yield f"shapes {' and '.join(map(str, shapes))} do not broadcast"


@op("matmul")
class MatMul(Op):
    """x @ w: encrypted x [..., K], clear integer w [..., K, N], as numpy's matmul."""

    x: Value
    w: Ints

    def normalise(self) -> None:
        self.w = frozen_ints(self.w)

    def check(self) -> Iterator[str]:
        x = self.x.shape
        if not x or self.w.ndim < 2 or self.w.ndim > max(2, len(x)) or x[-1] != self.w.shape[-2]:
            yield f"x {x} cannot be multiplied by w {self.w.shape}"
        elif self.w.ndim > 2:
            yield from _broadcasts(x[:-2], self.w.shape[:-2])

    def infer(self) -> Int:
        x = self.x.int_type
        lo, hi = (arith.expand(bound, x, [-1]) for bound in (x.lo, x.hi))
        lead = np.broadcast_shapes(x.shape[:-2], self.w.shape[:-2])
        shape = (*lead, *x.shape[-2:-1], self.w.shape[-1])
        return Int.of(shape, *arith.linear_bounds(arith.matmul, lo, hi, self.w))

    def eval(self, x: Array) -> Array:
        return arith.matmul(x, self.w)


@op("conv")
class Conv(Op):
    """Cross-correlation in one to three dimensions, without padding or bias.

    Encrypted x [N, C, *space], clear integer w [O, C/group, *kernel].
    """

    x: Value
    w: Ints
    strides: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    group: int = 1

    def normalise(self) -> None:
        self.w = frozen_ints(self.w)
        space = self.w.ndim - 2
        self.strides = tuple(self.strides) or (1,) * space
        self.dilations = tuple(self.dilations) or (1,) * space

    @property
    def extent(self) -> tuple[int, ...]:
        """Size of the dilated kernel on each spatial axis."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.w.shape[2:], self.dilations, strict=True))

    def check(self) -> Iterator[str]:
        x, w = self.x.shape, self.w.shape
        if len(w) not in (3, 4, 5) or len(x) != len(w):
            yield f"x {x} and w {w} need the same number of axes, 3 to 5"
        elif len(self.strides) != len(w) - 2 or len(self.dilations) != len(w) - 2:
            yield "strides and dilations need one number for each spatial axis"
        elif min(*self.strides, *self.dilations, self.group) < 1:
            yield "strides, dilations and group are 1 or more"
        elif x[1] != w[1] * self.group or w[0] % self.group:
            yield f"x {x} and w {w} do not fit with group={self.group}"
        elif any(e > n for e, n in zip(self.extent, x[2:], strict=True)):
            yield f"the kernel {self.extent} is larger than the input {x[2:]}"

    def infer(self) -> Int:
        x = self.x.int_type
        out = tuple(
            (n - e) // s + 1 for n, e, s in zip(x.shape[2:], self.extent, self.strides, strict=True)
        )
        lo, hi = (self._bound(bound) for bound in (x.lo, x.hi))
        return Int.of(
            (x.shape[0], self.w.shape[0], *out), *arith.linear_bounds(self._conv, lo, hi, self.w)
        )

    def _bound(self, bound: Ints) -> Ints:
        """Where ranges are the same at every position, one position stands for all."""
        channels, *space = self.x.shape[1:]
        uniform = all(size == 1 for size in bound.shape[2:])
        positions = self.extent if uniform else space
        return np.broadcast_to(bound, (bound.shape[0], channels, *positions))

    def _conv(self, x: Array, w: Array) -> Array:
        return arith.conv(x, w, self.strides, self.dilations, self.group)

    def eval(self, x: Array) -> Array:
        flat = self._conv(x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]), self.w)
        return flat.reshape(*x.shape[:2], *flat.shape[1:])


@op("add")
class Add(Op):
    """x + y, whoever knows them."""

    x: Value
    y: Value

    def check(self) -> Iterator[str]:
        return _broadcasts(self.x.shape, self.y.shape)

    def infer(self) -> Int:
        x, y = self.x.int_type, self.y.int_type
        return Int.of(np.broadcast_shapes(x.shape, y.shape), x.lo + y.lo, x.hi + y.hi)

    def eval(self, x: Array, y: Array) -> Array:
        rank = len(self.result.shape)
        return arith.align(x, rank) + arith.align(y, rank)


@op("sub")
class Sub(Op):
    """x - y, whoever knows them."""

    x: Value
    y: Value

    def check(self) -> Iterator[str]:
        return _broadcasts(self.x.shape, self.y.shape)

    def infer(self) -> Int:
        x, y = self.x.int_type, self.y.int_type
        return Int.of(np.broadcast_shapes(x.shape, y.shape), x.lo - y.hi, x.hi - y.lo)

    def eval(self, x: Array, y: Array) -> Array:
        rank = len(self.result.shape)
        return arith.align(x, rank) - arith.align(y, rank)


@op("neg")
class Neg(Op):
    """-x."""

    x: Value

    def infer(self) -> Int:
        x = self.x.int_type
        return Int.of(x.shape, -x.hi, -x.lo)

    def eval(self, x: Array) -> Array:
        return -x


@op("add_clear")
class AddClear(Op):
    """x + c: clear integers c that broadcast to x."""

    x: Value
    c: Ints

    def normalise(self) -> None:
        self.c = frozen_ints(self.c)

    def check(self) -> Iterator[str]:
        if not broadcasts_to(self.c.shape, self.x.shape):
            yield f"c {self.c.shape} does not broadcast to x {self.x.shape}"

    def infer(self) -> Int:
        x = self.x.int_type
        return Int.of(x.shape, x.lo + self.c, x.hi + self.c)

    def eval(self, x: Array) -> Array:
        return x + self.c


@op("mul_clear")
class MulClear(Op):
    """x * c: clear integers c that broadcast to x."""

    x: Value
    c: Ints

    def normalise(self) -> None:
        self.c = frozen_ints(self.c)

    def check(self) -> Iterator[str]:
        if not broadcasts_to(self.c.shape, self.x.shape):
            yield f"c {self.c.shape} does not broadcast to x {self.x.shape}"

    def infer(self) -> Int:
        x = self.x.int_type
        return Int.of(x.shape, *arith.product_bounds((x.lo, x.hi), (self.c, self.c)))

    def eval(self, x: Array) -> Array:
        return arith.multiply(x, self.c)


@op("halve")
class Halve(Op):
    """x / 2 for x that is even by construction, such as twice a value; an odd x is rounded down.

    An encoding of one bit less reads the same ciphertext so, which costs nothing.
    """

    x: Value

    def infer(self) -> Int:
        x = self.x.int_type
        return Int.of(x.shape, x.lo >> 1, x.hi >> 1)

    def eval(self, x: Array) -> Array:
        return x >> 1


@op("sum")
class Sum(Op):
    """Sum over some axes."""

    x: Value
    axes: tuple[int, ...]
    keepdims: bool = True

    def check(self) -> Iterator[str]:
        if not {*self.axes} <= {*range(len(self.x.shape))} or len({*self.axes}) < len(self.axes):
            yield f"axes {self.axes} are not axes of x {self.x.shape}, each named once"

    def infer(self) -> Int:
        x = self.x.int_type
        full = (arith.expand(bound, x, self.axes) for bound in (x.lo, x.hi))
        bounds = (arith.total(bound, self.axes, self.keepdims) for bound in full)
        shape = tuple(
            1 if axis in self.axes else size
            for axis, size in enumerate(x.shape)
            if self.keepdims or axis not in self.axes
        )
        return Int.of(shape, *bounds)

    def eval(self, x: Array) -> Array:
        return arith.total(x, tuple(axis + 1 for axis in self.axes), self.keepdims)
