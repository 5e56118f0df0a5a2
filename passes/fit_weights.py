"""Pass `fit-weights`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import TypeGuard

import numpy as np

from lutra.ir.core import Graph, Op, Value
from lutra.ir.errors import PipelineError
from lutra.ir.ops import Assume, Dequantize, Quantize
from lutra.ir.rewriter import Rewriter, merge
from lutra.ir.types import Array
from lutra.passes.base import Context, Lossy, Pass
from lutra.passes.bits import Bits, bits_for, check_bits
from lutra.passes.dce import eliminate_dead_code
from lutra.passes.error_compensation import SHRINKS, SMALLER, Limits
from lutra.passes.fit_samples import Reference, Samples, sample_count
from lutra.passes.layers import Layer, is_layer, sum_of, totals, with_weights
from lutra.passes.reach import Margin, Reach, check_margin, extremes
from lutra.passes.regions import channel_axes, look_up_sources
from lutra.passes.round import rounded
from lutra.passes.sum_rewriting import Readers, readers_of, rebuilt, replace
from lutra.passes.sweep import Sweep
from lutra.passes.weight_fit import SumFit

SLACK = 0.98
"""Share of the room that a channel is made to fill."""
TRIALS = 4
"""How often weights are rounded, to keep all channels within their room."""
SQUEEZES = 24
"""The same where the room is a matter of few bits."""


@dataclass(frozen=True)
class FitWeights(Pass):
    """Give each layer's integer weights the scale that suits what reads its accumulator.

    Expects weights quantized finely (`quantize{weights=16}`). Layer by layer, each on the integer
    inputs that it will really get:

    - The weights are corrected so that the layer comes closer to the float model's values in spite
      of its rounded inputs, as far as held-out samples confirm it (`float_target`).
    - Where a look-up follows, each output channel is scaled so that its observed range, widened by
      `margin`, fills 2^rounding - 1 cells of 2^lsbs: the rounding that follows then keeps all its
      bits for every channel. The lsbs are chosen so that the middle channel's largest weight has
      `bits` bits. Without `rounding`, and in the last layers, the weights have `bits`
      (`output_bits`) bits, each channel at the scale that loses least of its output.
    - Weights are rounded one input after the other, and each one's error is compensated by those
      still to come (Frantar et al., "GPTQ", ICLR 2023), for the covariance of the inputs; what is
      left of the mean error goes to the offset (bias correction).

    Layers that are added up, to each other or to other integers as in residual nets, are fitted
    together: their sum needs one scale, of which other integers are multiples.

    Few large weights instead of many make the noise of encrypted sums smaller, and with it their
    price. Weights that the model itself quantizes (`import-quantized`) stay as they are.

    accumulator: bits that every accumulator is guaranteed to fit, whatever the inputs. What
        positive weights times the largest inputs, and negative ones times the smallest, come to is
        bounded, and likewise the opposite (Colbert et al., "A2Q+", 2024, and "Accumulator-aware
        post-training quantization", 2024). Inputs around 0 leave most room
        (`quantize{signed=true}`). Only without `rounding`, which makes the width irrelevant.
    guaranteed: let `accumulator` hold whatever the inputs are. If not, it holds for what
        calibration data lead to, widened by `margin` where a look-up follows: weights have more
        room then.
    per_channel: let channels have scales of their own; they keep those that they come with if not
        (`quantize{per_channel=false}` gives them none).
    symmetric: as many negative levels as positive ones; else each channel shifts its range.
    fill: let channels fill what rounding keeps; else they have `bits` bits as without rounding.
    compensate, search, correct_bias, float_target: switch the error compensation, the search for
        scales, the bias correction and the correction towards the float model on and off.
    """

    name = "fit-weights"
    contract = Lossy
    requires = frozenset({"regions"})
    bits: Bits = 6
    output_bits: Bits | None = None
    rounding: Bits | None = 6
    margin: Margin = "auto"
    accumulator: int | None = None
    guaranteed: bool = True
    per_channel: bool = True
    symmetric: bool = True
    compensate: bool = True
    search: bool = True
    correct_bias: bool = True
    float_target: bool = True
    fill: bool = True

    def __post_init__(self) -> None:
        check_bits(self.bits, "bits", low=2)
        check_margin(self.margin)
        if self.output_bits is not None:
            check_bits(self.output_bits, "output_bits", low=2)
        if self.rounding is not None:
            check_bits(self.rounding, "rounding", low=2)
        if self.accumulator is not None:
            check_bits(self.accumulator, "accumulator", low=2, high=30)
            if self.rounding is not None:
                raise PipelineError(
                    "P002",
                    "`accumulator` bounds accumulators that look-ups read in full",
                    help="add `rounding=none`, or leave `accumulator` out",
                )

    def run(self, graph: Graph, rewriter: Rewriter, context: Context) -> None:
        brought = context.notes.brought

        def free(op: Op) -> TypeGuard[Layer]:
            return is_layer(op) and not brought & {*op.loc}

        looked_up = set(look_up_sources(graph))
        ends = totals(graph, free)
        if not ends:
            return
        feeds = context.calibration(self.name)
        sweep = Sweep(graph, feeds)
        reference = self._reference(context, feeds)
        moved: dict[Value, Value] = {}
        shadows: dict[Dequantize, Dequantize] = {}
        for done, end in enumerate(ends):
            context.progress("fitting weights", done, len(ends))
            layers = sum_of(moved.get(end, end), free)
            readers = layers and readers_of(layers.total, layers.axis, free)
            if layers and readers:
                roundable = any(sink in looked_up for sink, _ in readers.sinks)
                samples = Samples.of(layers, readers, sweep, reference)
                moved |= self._fit(samples, readers, roundable, rewriter)
                for sink in (sink for sink, _ in readers.sinks if sink in looked_up):
                    plain = moved[sink.result].owner
                    assert isinstance(plain, Dequantize)
                    shadow = self._rounded(plain, sweep)
                    if shadow is not None:
                        rewriter.replace(plain, shadow)
                        shadows[shadow] = plain
            sweep.keep(moved.get(later, later) for later in ends[done + 1 :])
            if reference and readers:
                reference.forget(sink.result for sink, _ in readers.sinks)
        for shadow, plain in shadows.items():
            rewriter.replace(shadow, plain)
        context.progress("fitting weights", len(ends), len(ends))
        eliminate_dead_code(graph, rewriter)

    def _reference(self, context: Context, feeds: Mapping[str, Array]) -> Reference | None:
        """The float model, if it is known and wanted."""
        graph = context.notes.reference
        if graph is None or not self.float_target:
            return None
        twins = {
            value: twin
            for value, twin in context.notes.reference_of.items()
            if isinstance(value.owner, Dequantize) and not isinstance(value.owner.q.owner, Quantize)
        }
        return Reference(Sweep(graph, feeds), twins)

    def _fit(
        self, samples: Samples, readers: Readers, looked_up: bool, rewriter: Rewriter
    ) -> dict[Value, Value]:
        """Fit one sum, and put it in the old one's place; returns what replaced what else."""
        layers = samples.sum
        names = reduce(merge, (*(op.loc for op, _ in layers.layers), readers.names()))
        fit = samples.fit()
        if samples.reference:
            fit.correct()
        if self.rounding is not None and looked_up and self.fill:
            factor = self._fill(fit, samples, names)
        else:
            factor, limits = self._within(fit, looked_up or not readers.sinks, names)
            factor = self._round(fit, samples, factor, limits, looked_up, names)
        if self.per_channel:
            factor = fit.reduced(factor)
        whole = fit.fixed_factors(factor)
        if self.search and self.per_channel:
            factor = fit.scale(factor)
        pairs = zip(layers.layers, fit.layers, strict=True)
        new = [with_weights(op, fitted.integers) for (op, _), fitted in pairs]
        lost = np.zeros(layers.channels)
        if self.correct_bias:
            wanted = samples.target * layers.along(factor)
            lost = layers.rows(wanted - samples.evaluate(new, whole)).mean(0)
        return replace(layers, rebuilt(layers, new, whole), readers, factor, lost, rewriter)

    def _rounded(self, sink: Dequantize, sweep: Sweep) -> Dequantize | None:
        """A stand-in for a look-up's input, by which the layers behind see the rounding to come."""
        if self.rounding is None:
            return None
        reach = Reach(channel_axes(sink))
        reach.update(*sweep.run([sink.q], sample_count([sink.q])))
        names = merge(sink.q.owner.loc, sink.loc)
        bits = bits_for(self.rounding, names, "rounding")
        narrowed = Assume(sink.q, *reach.bounds(self.margin, self.rounding, names))
        return rounded(sink.copy({sink.q: narrowed.result}), bits)

    def _within(self, fit: SumFit, inner: bool, names: tuple[str, ...]) -> tuple[Array, Limits]:
        """Factors for weights of so many bits, and the limits of the integers."""
        option, bits = ("bits", self.bits)
        if not inner and self.output_bits is not None:
            option, bits = ("output_bits", self.output_bits)
        options = list(self._limits(fit, bits_for(bits, names, option)))
        shrinks = SHRINKS if self.search else SHRINKS[:1]
        if self._guarantees:  # which may leave room for smaller integers only
            shrinks = np.append(shrinks, SMALLER)
        factor, limits, loss = fit.search(options, shrinks, not self.per_channel)
        if np.isinf(loss).any():
            raise self._no_room(names)
        return factor, limits

    @property
    def _guarantees(self) -> bool:
        return self.accumulator is not None and self.guaranteed

    def _no_room(self, names: tuple[str, ...]) -> PipelineError:
        return PipelineError(
            "P002",
            f"`accumulator={self.accumulator}` leaves no room for weights here",
            nodes=names,
            help="give the accumulator more bits, or what it adds up fewer",
        )

    def _round(
        self,
        fit: SumFit,
        samples: Samples,
        factor: Array,
        limits: Limits,
        looked_up: bool,
        names: tuple[str, ...],
    ) -> Array:
        """Round to integers within limits, smaller ones where they lead too far; their factors."""
        fit.round(factor, limits, self.compensate)
        if self.accumulator is None or self.guaranteed:
            return factor
        for _ in range(SQUEEZES):
            total = samples.rounded(fit, factor)
            if looked_up:  # whose input is put in the middle of its bits
                width = self._width(samples, total, names)
            else:
                lo, hi = extremes(total, [samples.sum.axis])
                width = 2.0 * np.maximum(-lo, hi + 1).reshape(-1) - 1
            over = np.maximum(width / (2.0**self.accumulator - 1), 1.0)
            if (over <= 1).all():
                return factor
            if not self.per_channel:
                over = np.full_like(over, over.max())
            factor = fit.snapped(factor * np.where(over > 1, 0.99 / over, 1.0), np.floor)
            fit.round(factor, limits, self.compensate)
        raise self._no_room(names)

    def _limits(self, fit: SumFit, bits: int) -> Iterator[Limits]:
        """The ranges of integers to choose from."""
        outputs = fit.target.shape[1]
        room = None
        if self.accumulator is not None and self.guaranteed:
            half = 2.0 ** (self.accumulator - 1)
            room = np.stack([np.full(outputs, half - 1), np.full(outputs, half)])
        top = np.full(outputs, 2.0 ** (bits - 1) - 1)
        yield Limits(-top, top, room)
        if not self.symmetric:
            yield Limits(-top - 1, top, room)
            yield Limits(-top, top + 1, room)
            share = fit.negative_share()
            below = np.rint(share * (2**bits - 1))
            yield Limits(-below, 2**bits - 1 - below, room)

    def _fill(self, fit: SumFit, samples: Samples, names: tuple[str, ...]) -> Array:
        """Round to weights by which channels fill the cells that are kept; their factors."""
        assert self.rounding is not None
        cells = 2 ** bits_for(self.rounding, names, "rounding") - 1
        top = 2 ** (bits_for(self.bits, names, "bits") - 1) - 1
        width = self._width(samples, samples.given(fit), names)
        largest = np.maximum(np.max([np.abs(f.weights).max(1) for f in fit.layers], axis=0), 1)
        wanted = top / np.median(largest / width)
        lsbs = max(0, round(math.log2(wanted / cells)))
        # what is added as it is takes a whole multiple of its own width at least
        least = fit.snapped(np.zeros_like(width), np.floor) * width
        while SLACK * cells * 2.0**lsbs < least.max():
            lsbs += 1
        room = SLACK * cells * 2.0**lsbs
        # a channel that hardly moves gets no larger weights than the others
        factor = fit.snapped(np.minimum(room / width, 4 * top / largest), np.floor)
        for _ in range(TRIALS):
            fit.round(factor, Limits.none(len(factor)), self.compensate)
            reached = self._width(samples, samples.rounded(fit, factor), names)
            if (reached <= room).all():
                break
            over = np.maximum(reached / room, 1.0)
            if not self.per_channel:
                over = np.full_like(over, over.max())
            factor = fit.snapped(factor * np.where(over > 1, 0.99 / over, 1.0), np.floor)
        return factor

    def _width(self, samples: Samples, total: Array, names: tuple[str, ...]) -> Array:
        """How far each channel of a sum reaches, margins included."""
        reach = Reach([samples.sum.axis])
        reach.update(total)
        lo, hi = reach.bounds(self.margin, self.rounding, names)
        width = (hi - lo).reshape(-1).astype(np.float64)
        return width if self.per_channel else np.full_like(width, width.max())
