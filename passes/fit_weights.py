"""Pass `fit-weights`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lutra.ir.core import Graph, Op, Value
from lutra.ir.interpreter import Interpreter
from lutra.ir.ops import Conv, Dequantize, MatMul, Reshape, Transpose
from lutra.ir.rewriter import Rewriter, merge
from lutra.ir.types import Array, Ints
from lutra.passes.affine import ZERO
from lutra.passes.base import Context, Lossy, Pass
from lutra.passes.bits import Bits, bits_for, check_bits
from lutra.passes.error_compensation import best_shrink, covariances, round_compensated
from lutra.passes.regions import look_up_sources

SAMPLES = 1024
"""Calibration samples that layers are fitted on."""
SLACK = 0.97
"""Share of the room that a channel is made to fill; what rounding adds needs the rest."""


@dataclass(frozen=True)
class FitWeights(Pass):
    """Give each layer's integer weights the scale that suits what reads its accumulator.

    Expects weights quantized finely (`quantize{weights=16}`). Layer by layer, each on the integer
    inputs that it will really get:

    - Where a look-up follows, each output channel is scaled so that its observed range, widened by
      `margin`, fills 2^rounding - 1 cells of 2^lsbs: the rounding that follows then keeps all its
      bits for every channel. The lsbs are chosen so that the middle channel's largest weight has
      `bits` bits. Without `rounding`, and in the last layers, the weights have `bits`
      (`output_bits`) bits, each channel at the scale that loses least of its output.
    - Weights are rounded one input after the other, and each one's error is compensated by those
      still to come (Frantar et al., "GPTQ", ICLR 2023), for the covariance of the inputs; what is
      left of the mean error goes to the offset (bias correction).

    Few large weights instead of many make the noise of encrypted sums smaller, and with it their
    price. Weights that the model itself quantizes (`import-quantized`) stay as they are.
    """

    name = "fit-weights"
    contract = Lossy
    requires = frozenset({"regions"})
    bits: Bits = 6
    output_bits: Bits | None = None
    rounding: Bits | None = 6
    margin: float = 0.1
    compensate: bool = True

    def __post_init__(self) -> None:
        check_bits(self.bits, "bits", low=2)
        if self.output_bits is not None:
            check_bits(self.output_bits, "output_bits", low=2)
        if self.rounding is not None:
            check_bits(self.rounding, "rounding", low=2)

    def run(self, graph: Graph, rewriter: Rewriter, context: Context) -> None:
        looked_up = set(look_up_sources(graph))
        found = [layer for d in graph.of(Dequantize) if (layer := layer_of(d)) is not None]
        layers = [layer for layer in found if not context.notes.brought & {*layer[0].loc}]
        samples = context.calibration(self.name) if layers else {}
        samples = {name: array[:SAMPLES] for name, array in samples.items()}
        for done, (op, sink) in enumerate(layers):
            context.progress("fitting weights", done, len(layers))
            (x,) = Interpreter(graph, [op.x]).run(samples)
            self._fit(op, sink, sink in looked_up, x, rewriter)
        context.progress("fitting weights", len(layers), len(layers))

    def _fit(
        self, op: MatMul | Conv, sink: Dequantize, looked_up: bool, x: Array, rewriter: Rewriter
    ) -> None:
        names = merge(op.loc, sink.loc)
        exact = op.eval(x)
        axis = _channel_axis(op) + 1
        others = tuple(i for i in range(exact.ndim) if i != axis)
        top = 2 ** (self._bits(looked_up, names) - 1) - 1
        if self.rounding is None or not looked_up:
            integers, factor = self._within(op, x, top)
        else:
            width = (exact.max(others) - exact.min(others)) * (1 + 2 * self.margin) + 2.0
            cells = 2 ** bits_for(self.rounding, names, "rounding") - 1
            integers, factor = self._filling(op, x, top, width, cells)
        new = op.copy({}, w=_from_channels(op, integers))
        wanted = exact * _along(factor, axis, exact.ndim)
        lost = np.subtract(wanted, new.eval(x)).mean(others)
        self._replace(op, new, sink, factor, lost / factor, rewriter)

    def _bits(self, looked_up: bool, names: tuple[str, ...]) -> int:
        if looked_up or self.output_bits is None:
            return bits_for(self.bits, names, "bits")
        return bits_for(self.output_bits, names, "output_bits")

    def _within(self, op: MatMul | Conv, x: Array, top: int) -> tuple[Array, Array]:
        """Integers [channels, inputs] of at most `top`, and the weights' factors [channels]."""
        channels = _by_channel(op)
        factor = top / np.maximum(np.abs(channels).max(1), 1)
        parts = []
        for rows, covariance in self._groups(op, x):
            scaled = channels[rows] * factor[rows, None]
            shrink = best_shrink(scaled, covariance, top)
            factor[rows] *= shrink
            parts.append(self._round(scaled * shrink[:, None], covariance, top))
        return np.concatenate(parts), factor

    def _filling(
        self, op: MatMul | Conv, x: Array, top: int, width: Array, cells: int
    ) -> tuple[Array, Array]:
        """The same, for channels of observed `width` that shall fill `cells` of 2^lsbs each."""
        channels = _by_channel(op)
        largest = np.maximum(np.abs(channels).max(1), 1)
        wanted = top / np.median(largest / width)
        room = cells * 2.0 ** max(0, round(math.log2(wanted / cells)))
        # a channel that hardly moves gets no larger weights than the others
        factor = np.minimum(SLACK * room / width, 4 * top / largest)
        scaled = channels * factor[:, None]
        parts = [self._round(scaled[rows], gram, None) for rows, gram in self._groups(op, x)]
        return np.concatenate(parts), np.asarray(factor)

    def _groups(self, op: MatMul | Conv, x: Array) -> Iterator[tuple[slice, Array]]:
        """For each group of channels: which they are, and the covariance of what they read."""
        grams = covariances(op, x)
        size = len(_by_channel(op)) // len(grams)
        for group, gram in enumerate(grams):
            yield slice(group * size, (group + 1) * size), gram

    def _round(self, weights: Array, covariance: Array, top: int | None) -> Array:
        if self.compensate:
            return round_compensated(weights, covariance, top)
        rounded = np.rint(weights)
        return rounded if top is None else np.clip(rounded, -top, top)

    @staticmethod
    def _replace(
        op: MatMul | Conv,
        new: MatMul | Conv,
        sink: Dequantize,
        factor: Array,
        lost: Array,
        rewriter: Rewriter,
    ) -> None:
        """Put the new layer in place; scale and offset of what it is dequantized with follow."""
        path = _path(op, sink)
        rank = len(op.result.shape)
        by = np.broadcast_to(_along(factor, _channel_axis(op), rank), op.result.shape)
        mean = np.broadcast_to(_along(lost, _channel_axis(op), rank), op.result.shape)
        for move in path:
            by, mean = move.move(by), move.move(mean)
        scale = sink.scale.astype(np.float64)
        offset = sink.offset + scale * (mean - sink.zero_point)
        rewriter.replace(op, new)
        rewriter.replace(sink, Dequantize(sink.q, scale / by, ZERO, offset))


def layer_of(sink: Dequantize) -> tuple[MatMul | Conv, Dequantize] | None:
    """(layer, sink) if nothing but `sink` reads a layer's result, perhaps moved."""
    value: Value = sink.q
    while value.used_once and isinstance(value.owner, Reshape | Transpose):
        value = value.owner.x
    op: Op = value.owner
    if value.used_once and isinstance(op, MatMul | Conv):
        return (op, sink) if isinstance(op, Conv) or op.w.ndim == 2 else None
    return None


def _path(op: Op, sink: Dequantize) -> list[Reshape | Transpose]:
    """The movements between a layer and its sink, in order."""
    path: list[Reshape | Transpose] = []
    step = sink.q.owner
    while isinstance(step, Reshape | Transpose):
        path.append(step)
        step = step.x.owner
    return path[::-1]


def _channel_axis(op: MatMul | Conv) -> int:
    return 1 if isinstance(op, Conv) else len(op.result.shape) - 1


def _along(vector: Array, axis: int, rank: int) -> Array:
    return vector.reshape([-1 if i == axis else 1 for i in range(rank)])


def _by_channel(op: MatMul | Conv) -> Ints:
    """Weights as [output channels, inputs of each]."""
    return op.w.reshape(op.w.shape[0], -1) if isinstance(op, Conv) else op.w.T


def _from_channels(op: MatMul | Conv, weights: Array) -> Ints:
    integers = np.asarray(weights).astype(np.int64)
    return integers.reshape(op.w.shape) if isinstance(op, Conv) else integers.T
