"""Puts fitted sums of layers into a graph, and tells what reads them of their new scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce

import numpy as np

from lutra.ir.core import Op, Value
from lutra.ir.ops import (
    Add,
    AddClear,
    Conv,
    Dequantize,
    MulClear,
    Neg,
    Reshape,
    Sub,
    Transpose,
)
from lutra.ir.rewriter import Rewriter, merge
from lutra.ir.types import Array
from lutra.passes.affine import ZERO
from lutra.passes.layers import Free, Layer, LayerSum

Path = tuple[Reshape | Transpose, ...]


@dataclass
class Readers:
    """What reads a sum.

    sinks: where it becomes floats, with the movements on the way there.
    layers: layers that read it as integers. sums: operations that add it to others.
    """

    sinks: list[tuple[Dequantize, Path]] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)
    sums: list[Op] = field(default_factory=list)

    def names(self) -> tuple[str, ...]:
        return reduce(merge, (sink.loc for sink, _ in self.sinks), ())


def readers_of(total: Value, axis: int, free: Free) -> Readers | None:
    """What reads a sum with channels along `axis`; None where something needs its old scale."""
    found = Readers()
    return found if _collect(total, total, axis, (), free, found) else None


def _collect(value: Value, total: Value, axis: int, path: Path, free: Free, found: Readers) -> bool:
    for user in value.users:
        if isinstance(user, Dequantize):
            found.sinks.append((user, path))
        elif isinstance(user, Reshape | Transpose):
            if not _collect(user.result, total, axis, (*path, user), free, found):
                return False
        elif path:
            return False
        elif free(user) and axis == (1 if isinstance(user, Conv) else len(total.shape) - 1):
            found.layers.append(user)
        elif isinstance(user, Add | AddClear | Sub | Neg | MulClear):
            found.sums.append(user)
        else:
            return False
    return True


def rebuilt(layers: LayerSum, new: Sequence[Layer], factors: Sequence[Array]) -> Value:
    """The sum of new layers and of its fixed values times integer factors [channels]."""
    terms = [op.result for op in new]
    for (value, _), factor in zip(layers.fixed, factors, strict=True):
        k = layers.along(factor.astype(np.int64))
        terms.append(value if (k == 1).all() else MulClear(value, k).result)
    return reduce(lambda x, y: Add(x, y).result, terms)


def replace(
    layers: LayerSum, new: Value, readers: Readers, factor: Array, lost: Array, rewriter: Rewriter
) -> dict[Value, Value]:
    """Let all readers read the sum `new`, of which (new + lost) / factor is the old one.

    Returns which values have taken the place of which others.
    """
    moved: dict[Value, Value] = {}
    old = layers.total
    rewriter.insert(new.owner, before=old.owner, loc=old.owner.loc)
    by = np.broadcast_to(layers.along(factor), old.shape)
    mean = np.broadcast_to(layers.along(lost), old.shape)
    for sink, path in readers.sinks:
        value, by_there, mean_there = new, by, mean
        for move in path:
            value = move.copy({move.x: value}).result
            by_there, mean_there = move.move(by_there), move.move(mean_there)
        scale = sink.scale.astype(np.float64)
        offset = sink.offset + scale * (mean_there / by_there - sink.zero_point)
        floats = Dequantize(value, scale / by_there, ZERO, offset)
        moved[sink.result] = floats.result
        rewriter.replace(sink, floats)
    for layer in readers.layers:
        twin = _absorbing(layer, old, new, factor)
        moved[layer.result] = twin.result
        rewriter.replace(layer, twin)
    if readers.sums:
        same = MulClear(new, layers.along(np.rint(1 / factor))).result
        same = AddClear(same, layers.along(np.rint(lost / factor))).result
        rewriter.insert(same.owner, before=old.owner, loc=old.owner.loc)
        rewriter.replace_uses(old, same, only=readers.sums)
    return moved


def _absorbing(layer: Layer, old: Value, new: Value, factor: Array) -> Layer:
    """A layer that reads `new` in the place of `old`, its weights grown by 1 / factor."""
    if isinstance(layer, Conv):
        size = layer.w.shape[1]
        group = np.arange(layer.w.shape[0]) // (layer.w.shape[0] // layer.group)
        inputs = group[:, None] * size + np.arange(size)
        shape = (*inputs.shape, *(1,) * (layer.w.ndim - 2))
        by = factor[inputs].reshape(shape)
    else:
        by = factor[:, None]
    return layer.copy({old: new}, w=np.rint(layer.w / by).astype(np.int64))
