"""Sums of weighted layers: what stands between integers that are read and the next that are.

A layer's result may be added to other layers' results, and to other integers (as in residual nets),
before anything reads it. Then all of the sum shares one scale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias, TypeGuard

import numpy as np

from lutra.ir.core import Graph, Op, Value
from lutra.ir.ops import Add, AddClear, Conv, MatMul, MulClear, Neg, Sub
from lutra.ir.types import Array, Ints
from lutra.passes.affine import varies

Layer: TypeAlias = MatMul | Conv
Free: TypeAlias = Callable[[Op], TypeGuard[Layer]]
"""Tells whether an operation is a layer whose weights may change."""


@dataclass(frozen=True)
class Term:
    """factor * value as part of a sum; the factor is [channels].

    layer: the layer whose result `value` is, if nothing else reads it.
    """

    value: Value
    factor: Ints
    layer: Layer | None


@dataclass(frozen=True)
class LayerSum:
    """A sum of terms, which share the axis of channels, perhaps with a constant added."""

    total: Value
    axis: int
    terms: tuple[Term, ...]

    @property
    def channels(self) -> int:
        return self.total.shape[self.axis]

    @property
    def layers(self) -> list[tuple[Layer, Ints]]:
        """The layers that are free to change, with their factors."""
        return [(term.layer, term.factor) for term in self.terms if term.layer is not None]

    @property
    def fixed(self) -> list[tuple[Value, Ints]]:
        """The other values, with their factors."""
        return [(term.value, term.factor) for term in self.terms if term.layer is None]

    @property
    def reads(self) -> list[Value]:
        """What its layers read, and the other values."""
        return [*(op.x for op, _ in self.layers), *(value for value, _ in self.fixed)]

    def along(self, vector: Array) -> Array:
        """A vector [channels] in a shape that broadcasts to the total's."""
        rank = len(self.total.shape)
        return vector.reshape([-1 if axis == self.axis else 1 for axis in range(rank)])

    def rows(self, array: Array) -> Array:
        """Values (samples, *shape) of the total as [rows, channels]."""
        return np.moveaxis(array, self.axis + 1, -1).reshape(-1, self.channels)


def is_layer(op: Op) -> TypeGuard[Layer]:
    return isinstance(op, Conv) or (isinstance(op, MatMul) and op.w.ndim == 2)


def channel_axis(op: Layer) -> int:
    """The axis of a layer's result along which its output channels lie."""
    return 1 if isinstance(op, Conv) else len(op.result.shape) - 1


def by_channel(op: Layer) -> Ints:
    """Weights as [output channels, inputs of each]."""
    return op.w.reshape(op.w.shape[0], -1) if isinstance(op, Conv) else op.w.T


def with_weights(op: Layer, weights: Array) -> Layer:
    """The layer with other weights [output channels, inputs of each], rounded to integers."""
    integers = np.rint(weights).astype(np.int64)
    return op.copy({}, w=integers.reshape(op.w.shape) if isinstance(op, Conv) else integers.T)


def totals(graph: Graph, free: Free = is_layer) -> list[Value]:
    """The values that sums with layers free to change end in, in the graph's order."""
    ends = {_end(op.result) for op in graph.ops if free(op)}
    return [value for op in graph.ops for value in op.results if value in ends]


def _end(value: Value) -> Value:
    while value.used_once:
        (user,) = value.users
        same_shape = all(
            operand.shape == value.shape for operand in (*user.operands, *user.results)
        )
        if not isinstance(user, Add | AddClear | Sub | Neg | MulClear) or not same_shape:
            break
        value = user.result
    return value


def sum_of(total: Value, free: Free = is_layer) -> LayerSum | None:
    """The sum that a value is; None where no layer of it is free to change."""
    constants: list[Ints] = []
    terms = list(_terms(total, np.ones(1, np.int64), constants, whole=True))
    terms = [t if t.layer and free(t.layer) else Term(t.value, t.factor, None) for t in terms]
    axes = [channel_axis(term.layer) for term in terms if term.layer is not None]
    if not axes:
        return None
    axis, rank = axes[0], len(total.shape)
    others = [i for i in range(rank) if i != axis]
    if any(varies(array, rank, others) for array in (*constants, *(t.factor for t in terms))):
        return None
    found = []
    for term in terms:
        along = term.layer is not None and channel_axis(term.layer) == axis
        factor = np.broadcast_to(term.factor.reshape(-1), (total.shape[axis],))
        found.append(Term(term.value, factor, term.layer if along else None))
    return LayerSum(total, axis, tuple(found))


def _terms(
    value: Value, factor: Ints, constants: list[Ints], *, whole: bool = False
) -> Iterator[Term]:
    """The terms of factor * value, and the constants added; what others read too is one term."""
    op = value.owner
    if not whole and not value.used_once:
        yield Term(value, factor, None)
    elif is_layer(op):
        yield Term(value, factor, op)
    elif any(operand.shape != value.shape for operand in op.operands):
        yield Term(value, factor, None)
    elif isinstance(op, Add | Sub) and op.x is not op.y:
        yield from _terms(op.x, factor, constants)
        yield from _terms(op.y, factor if isinstance(op, Add) else -factor, constants)
    elif isinstance(op, Neg):
        yield from _terms(op.x, -factor, constants)
    elif isinstance(op, MulClear):
        yield from _terms(op.x, factor * op.c, constants)
    elif isinstance(op, AddClear):
        constants.append(op.c)
        yield from _terms(op.x, factor, constants)
    else:
        yield Term(value, factor, None)
