"""Named pipelines: passes that stand for other passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lutra.passes.base import Lossy, Pass, Within
from lutra.passes.bits import Bits
from lutra.passes.calibrate import Calibrate, Method
from lutra.passes.canonicalize import Canonicalize
from lutra.passes.center import Center
from lutra.passes.check_support import CheckSupport
from lutra.passes.cse import EliminateCommonSubexpressions
from lutra.passes.dce import EliminateDeadCode
from lutra.passes.fit_weights import FitWeights
from lutra.passes.fuse import FuseRegions
from lutra.passes.import_quantized import ImportQuantized
from lutra.passes.legalize import Legalize
from lutra.passes.lower_quantized import LowerQuantized
from lutra.passes.partition import Partition
from lutra.passes.quantize import QuantizeModel
from lutra.passes.ranges import NarrowRanges
from lutra.passes.round import RoundAccumulators


@dataclass(frozen=True)
class Clean(Pass):
    """`cse,canonicalize,cse,dce`: the usual clean-up."""

    name = "clean"
    contract = Within(1e-5)

    def expand(self) -> Sequence[Pass]:
        merge = EliminateCommonSubexpressions()
        return (merge, Canonicalize(), merge, EliminateDeadCode())


FINE = 16
"""Bits of the weights that `fit-weights` starts from: next to floats."""


@dataclass(frozen=True)
class Default(Pass):
    """From a float model to a legal circuit, by post-training quantization.

    The wide road: each channel's weights are scaled so that its accumulator fills the bits that
    rounding keeps; the accumulator is rounded to `rounding` bits, and all else about the channel
    lives in its own table. `rounding=none` is the narrow road: few bits of weights and activations
    and exact accumulators.

    weights, output_weights: of the layers before look-ups, and of the last ones (none: the same),
        as `bits` and `output_bits` of `fit-weights`.
    activations, inputs: as of `quantize`.
    rounding, exact: bits kept before look-ups, and whether exactly rounded, as of `round`.
    margin: of the observed ranges, as of `ranges`; none takes guaranteed ranges instead.
    method: as of `calibrate`.

    Of a model that brings its own quantization, all that it quantizes keeps its scales, bits and
    integer weights, and the options for weights, activations and inputs say how the rest is
    quantized. Rounding is what remains lossy then: `qat` does without.
    """

    name = "default"
    contract = Lossy
    weights: Bits = 6
    activations: Bits = 8
    inputs: Bits = 8
    output_weights: Bits | None = None
    rounding: Bits | None = 6
    exact: bool = False
    margin: float | None = 0.1
    method: Method = "minmax"

    def expand(self) -> Sequence[Pass]:
        margin = FitWeights.margin if self.margin is None else self.margin
        fit = FitWeights(self.weights, self.output_weights, self.rounding, margin)
        return (*_to_integers(self, FINE), fit, *_to_circuit(self))


@dataclass(frozen=True)
class Qat(Pass):
    """From a model that brings its own quantization to a legal circuit of the same integers.

    For models of quantization-aware training, and others with QuantizeLinear and DequantizeLinear
    or QONNX's quantizers: scales, zero points, bits and integer weights are the model's, and the
    integers are those of its own quantized forward pass, up to float rounding where a value lies
    in the middle between two steps.

    weights, activations, inputs: as of `quantize`, for what the model leaves unquantized. Only that
        needs calibration data.
    rounding, exact: as of `default`; none keeps all bits of the accumulators.
    margin: take observed ranges, as of `ranges`; none takes guaranteed ones.
    method: as of `calibrate`.
    """

    name = "qat"
    contract = Lossy
    weights: Bits = 8
    activations: Bits = 8
    inputs: Bits = 8
    rounding: Bits | None = None
    exact: bool = False
    margin: float | None = None
    method: Method = "minmax"

    def expand(self) -> Sequence[Pass]:
        return (*_to_integers(self, self.weights), *_to_circuit(self))


def _to_integers(options: Default | Qat, weights: Bits) -> Sequence[Pass]:
    """From a model to integer layers, of weights with so many bits, and float regions between."""
    return (
        ImportQuantized(),
        Clean(),
        CheckSupport(),
        Calibrate(options.method, bits=options.activations, inputs=options.inputs),
        QuantizeModel(weights, options.activations, options.inputs),
        LowerQuantized(),
    )


def _to_circuit(options: Default | Qat) -> Sequence[Pass]:
    """From there to a legal circuit: ranges, rounding, tables, and the client's part split off."""
    passes: list[Pass] = []
    if options.margin is not None:
        passes.append(NarrowRanges(options.margin))
    if options.rounding is not None:
        passes.append(RoundAccumulators(options.rounding, exact=options.exact))
    return (*passes, Center(), FuseRegions(), Clean(), Partition(), Legalize())
