"""Operations that move, repeat or drop elements and compute nothing."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

import numpy as np

from lutra.ir import arith
from lutra.ir.core import Op, Value, op
from lutra.ir.types import Array, Int, Ints, Shape, broadcasts_to, frozen_ints


class Movement(Op):
    """An operation of one operand `x` whose meaning is an index map."""

    x: Value

    @abstractmethod
    def result_shape(self) -> Shape: ...

    @abstractmethod
    def eval(self, x: Array) -> Array: ...

    def infer(self) -> Int:
        x, shape = self.x.int_type, self.result_shape()
        if x.lo.size == x.hi.size == 1:
            return Int.of(shape, *self.uniform_range(x.min, x.max))
        return Int.of(shape, self.move(x.lo), self.move(x.hi))

    def uniform_range(self, lo: int, hi: int) -> tuple[int, int]:
        """Range of the result where all elements of x share one range."""
        return lo, hi

    def move(self, array: Array) -> Array:
        """Move an array that broadcasts to x's shape: the elements' ranges, scales, ..."""
        moved: Array = self.eval(np.broadcast_to(array, self.x.shape)[None])[0]
        return moved


@op("reshape")
class Reshape(Movement):
    """The same elements in row-major order under another shape."""

    x: Value
    shape: Shape

    def check(self) -> Iterator[str]:
        sizes = [np.prod(shape, dtype=np.int64) for shape in (self.x.shape, self.shape)]
        if sizes[0] != sizes[1] or min(self.shape, default=0) < 0:
            yield f"{self.x.shape} cannot be reshaped to {self.shape}"

    def result_shape(self) -> Shape:
        return self.shape

    def eval(self, x: Array) -> Array:
        return x.reshape(x.shape[0], *self.shape)


@op("transpose")
class Transpose(Movement):
    """Axes in another order: axis i of the result is axis perm[i] of x."""

    x: Value
    perm: tuple[int, ...]

    def check(self) -> Iterator[str]:
        if sorted(self.perm) != list(range(len(self.x.shape))):
            yield f"perm={self.perm} is not a permutation of the axes of {self.x.shape}"

    def result_shape(self) -> Shape:
        return tuple(self.x.shape[axis] for axis in self.perm)

    def eval(self, x: Array) -> Array:
        return x.transpose(0, *(axis + 1 for axis in self.perm))


@op("slice")
class Slice(Movement):
    """x[start:stop:step] on every axis; as in numpy, a stop before 0 is written -size - 1."""

    x: Value
    starts: tuple[int, ...]
    stops: tuple[int, ...]
    steps: tuple[int, ...]

    @property
    def slices(self) -> tuple[slice, ...]:
        return tuple(
            slice(*parts) for parts in zip(self.starts, self.stops, self.steps, strict=True)
        )

    def check(self) -> Iterator[str]:
        if not len(self.starts) == len(self.stops) == len(self.steps) == len(self.x.shape):
            yield f"starts, stops and steps need one number for each axis of {self.x.shape}"
        elif 0 in self.steps:
            yield "a step is 0"

    def result_shape(self) -> Shape:
        pairs = zip(self.slices, self.x.shape, strict=True)
        return tuple(len(range(*part.indices(size))) for part, size in pairs)

    def eval(self, x: Array) -> Array:
        parts = (slice(None), *self.slices)
        return x[parts]


@op("gather")
class Gather(Movement):
    """Any index map: element i of the result is element indices[i] of x in row-major order."""

    x: Value
    indices: Ints

    def normalise(self) -> None:
        self.indices = frozen_ints(self.indices)

    def check(self) -> Iterator[str]:
        size = int(np.prod(self.x.shape, dtype=np.int64))
        reach = (self.indices.min(initial=0), self.indices.max(initial=-1))
        if reach[0] < 0 or reach[1] >= size:
            yield f"indices reach [{reach[0]}, {reach[1]}], x has {size} elements"

    def result_shape(self) -> Shape:
        return self.indices.shape

    def eval(self, x: Array) -> Array:
        flat = x.reshape(x.shape[0], int(np.prod(x.shape[1:])))
        return np.asarray(flat[:, self.indices])


@op("pad")
class Pad(Movement):
    """x with clear elements of one value put before and after it on each axis."""

    x: Value
    before: tuple[int, ...]
    after: tuple[int, ...]
    value: int = 0

    def check(self) -> Iterator[str]:
        if not len(self.before) == len(self.after) == len(self.x.shape):
            yield f"before and after need one number for each axis of {self.x.shape}"
        elif min(self.before + self.after, default=0) < 0:
            yield "before and after must not be negative"

    def result_shape(self) -> Shape:
        pairs = zip(self.before, self.x.shape, self.after, strict=True)
        return tuple(before + size + after for before, size, after in pairs)

    def infer(self) -> Int:
        """Along one padded axis, the range of what is padded is its value alone."""
        x = self.x.int_type
        padded = [
            i for i, pair in enumerate(zip(self.before, self.after, strict=True)) if any(pair)
        ]
        if len(padded) != 1 or x.lo.size != 1 or x.hi.size != 1:
            return super().infer()
        (axis,) = padded
        widths = (self.before[axis], self.after[axis])
        shape = [-1 if i == axis else 1 for i in range(len(x.shape))]
        bounds = (
            np.pad(np.full(x.shape[axis], bound), widths, constant_values=self.value)
            for bound in (x.min, x.max)
        )
        return Int.of(self.result_shape(), *(bound.reshape(shape) for bound in bounds))

    def uniform_range(self, lo: int, hi: int) -> tuple[int, int]:
        if any(self.before + self.after):
            return min(lo, self.value), max(hi, self.value)
        return lo, hi

    def eval(self, x: Array) -> Array:
        widths = ((0, 0), *zip(self.before, self.after, strict=True))
        return np.pad(x, widths, constant_values=self.value)


@op("broadcast")
class Broadcast(Movement):
    """x repeated along axes of size 1, as numpy's broadcast_to."""

    x: Value
    shape: Shape

    def check(self) -> Iterator[str]:
        if not broadcasts_to(self.x.shape, self.shape):
            yield f"{self.x.shape} does not broadcast to {self.shape}"

    def result_shape(self) -> Shape:
        return self.shape

    def eval(self, x: Array) -> Array:
        return np.broadcast_to(arith.align(x, len(self.shape)), (x.shape[0], *self.shape))


@op("concat")
class Concat(Op):
    """Values joined along one axis."""

    xs: tuple[Value, ...]
    axis: int

    def check(self) -> Iterator[str]:
        if not self.xs:
            yield "nothing to join"
            return
        first = self.xs[0].shape
        if not 0 <= self.axis < len(first):
            yield f"axis {self.axis} is not an axis of {first}"
            return
        rest = {x.shape[: self.axis] + x.shape[self.axis + 1 :] for x in self.xs}
        if len(rest) > 1 or any(len(x.shape) != len(first) for x in self.xs):
            yield f"shapes {[x.shape for x in self.xs]} do not join along axis {self.axis}"

    def infer(self) -> Int:
        types = [x.int_type for x in self.xs]
        shape = list(types[0].shape)
        shape[self.axis] = sum(type.shape[self.axis] for type in types)
        bounds = (self.join([t.lo for t in types]), self.join([t.hi for t in types]))
        return Int.of(shape, *bounds)

    def join(self, arrays: list[Array]) -> Array:
        """Join arrays, each of which broadcasts to its operand's shape: ranges, scales, ..."""
        full = [np.broadcast_to(a, x.shape) for a, x in zip(arrays, self.xs, strict=True)]
        return np.concatenate(full, axis=self.axis)

    def eval(self, *xs: Array) -> Array:
        (samples,) = np.broadcast_shapes(*(x.shape[:1] for x in xs))  # clear operands have one
        full = [np.broadcast_to(x, (samples, *x.shape[1:])) for x in xs]
        return np.concatenate(full, axis=self.axis + 1)
