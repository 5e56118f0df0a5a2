"""What a sum of layers reads and gives on calibration samples, and what it should give."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lutra.ir.core import Value
from lutra.ir.ops import MatMul
from lutra.ir.types import Array
from lutra.passes.layers import Layer, LayerSum, by_channel, with_weights
from lutra.passes.sum_rewriting import Path, Readers
from lutra.passes.sweep import Sweep
from lutra.passes.weight_fit import LayerFit, SumFit, columns, thinned

SAMPLES = 16384
"""Calibration samples that layers are fitted on."""
ELEMENTS = 1 << 24
"""Numbers that a sum and what it reads have on all these samples together."""


def sample_count(values: Sequence[Value]) -> int:
    """On how many samples to look at these values."""
    size = sum(int(np.prod(value.shape)) for value in values)
    return max(16, min(SAMPLES, ELEMENTS // max(1, size)))


@dataclass(frozen=True)
class Reference:
    """The float model, and which of its values the graph's own stand for."""

    sweep: Sweep
    twins: dict[Value, Value]

    def forget(self, values: Iterable[Value]) -> None:
        """These values, and what only they need, will not be asked for again."""
        for value in values:
            self.twins.pop(value, None)
        self.sweep.keep(self.twins.values())


@dataclass(frozen=True)
class Samples:
    """Values (samples, *shape) around a sum of layers.

    arrays: of what its layers read, and of the values that it adds.
    target: what the sum should give, in its own units. It is what the float model has there if
        `reference` says so, else what the sum gives now.
    """

    sum: LayerSum
    arrays: Mapping[Value, Array]
    target: Array
    reference: bool

    @classmethod
    def of(
        cls, layers: LayerSum, readers: Readers, sweep: Sweep, reference: Reference | None
    ) -> Samples:
        """Run the sum, and the float model if it is known, on samples."""
        total, values = layers.total, layers.reads
        count = sample_count((total, *values))
        present, *arrays = sweep.run([total, *values], count)
        target = _wanted(total, readers, reference, count) if reference else None
        found = dict(zip(values, arrays, strict=True))
        return cls(layers, found, present if target is None else target, target is not None)

    def given(self, fit: SumFit) -> Array:
        """What the sum gives now, with weights corrected by a fit but not rounded yet."""
        pairs = zip(self.sum.layers, fit.layers, strict=True)
        new = [with_weights(op, layer.weights) for (op, _), layer in pairs]
        return self.evaluate(new, [factor for _, factor in self.sum.fixed])

    def rounded(self, fit: SumFit, factor: Array) -> Array:
        """What the sum gives with the integers of a fit, where it is scaled by `factor`."""
        pairs = zip(self.sum.layers, fit.layers, strict=True)
        new = [with_weights(op, layer.integers) for (op, _), layer in pairs]
        return self.evaluate(new, fit.fixed_factors(factor))

    def evaluate(self, new: Sequence[Layer], factors: Sequence[Array]) -> Array:
        """What the sum is with other layers, and other factors [channels] of fixed values."""
        total = np.zeros(self.target.shape)
        for (op, _), layer in zip(self.sum.layers, new, strict=True):
            total += layer.eval(self.arrays[op.x])
        for (value, _), k in zip(self.sum.fixed, factors, strict=True):
            total += self.arrays[value] * self.sum.along(k)
        return total

    def fit(self) -> SumFit:
        """The sum as a problem in real numbers, on some of the samples' rows."""
        target = self.sum.rows(self.target)
        inputs = sum(_inputs_reach(op).size // 2 for op, _ in self.sum.layers)
        kept = thinned(len(target), inputs + len(target[0]))
        layers = []
        for op, factor in self.sum.layers:
            x = columns(op, self.arrays[op.x])[:, kept]
            layers.append(LayerFit(by_channel(op) * factor[:, None], x, _inputs_reach(op)))
        fixed = [
            (
                self.sum.rows(self.arrays[value])[kept].astype(np.float64),
                factor,
                _reach(value, self.sum.axis),
            )
            for value, factor in self.sum.fixed
        ]
        wanted = target[kept].astype(np.float64)
        return SumFit(layers, fixed, wanted - wanted.mean(0))

    def _rows(self, value: Value, kept: slice) -> Array:
        return self.sum.rows(self.arrays[value])[kept].astype(np.float64)


def _wanted(total: Value, readers: Readers, reference: Reference, count: int) -> Array | None:
    """What the float model says that the sum should be, in the sum's own units."""
    for sink, path in readers.sinks:
        twin = reference.twins.get(sink.result)
        if twin is None or twin.shape != sink.result.shape or not sink.scale.all():
            continue
        (y,) = reference.sweep.run([twin], count)
        scale = sink.scale.astype(np.float64)
        return _moved_back((y - sink.offset) / scale + sink.zero_point, total, path)
    return None


def _moved_back(array: Array, total: Value, path: Path) -> Array:
    """Values (samples, *shape) behind some movements, as they were before."""
    where = np.arange(int(np.prod(total.shape))).reshape(total.shape)
    for move in path:
        where = move.move(where)
    result = np.empty((len(array), where.size))
    result[:, where.reshape(-1)] = array.reshape(len(array), -1)
    return result.reshape(len(array), *total.shape)


def _reach(value: Value, axis: int) -> Array:
    """How far an integer tensor comes above and below 0 [2, size], at each index along an axis."""
    type = value.int_type
    lo, hi = np.broadcast_arrays(type.lo, type.hi)
    ends = np.stack([np.maximum(hi, 0), np.maximum(-lo, 0)])
    others = tuple(i + 1 for i in range(ends.ndim - 1) if i != axis)
    return np.broadcast_to(ends.max(others), (2, value.shape[axis]))


def _inputs_reach(op: Layer) -> Array:
    """How far each input of a layer's channels comes above and below 0 [groups, 2, inputs]."""
    if isinstance(op, MatMul):
        return _reach(op.x, len(op.x.shape) - 1)[None]
    taps = int(np.prod(op.w.shape[2:]))
    grouped = _reach(op.x, 1).reshape(2, op.group, -1).swapaxes(0, 1)
    return np.repeat(grouped, taps, 2)
