"""Named pipelines: passes that stand for other passes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lutra.passes.base import Lossy, Pass, Within
from lutra.passes.bits import Bits, Switch, check_bits, check_switch, highest
from lutra.passes.calibrate import Calibrate, Method
from lutra.passes.canonicalize import Canonicalize
from lutra.passes.center import Center
from lutra.passes.cheapest import Cheapest
from lutra.passes.check_support import CheckSupport
from lutra.passes.cse import EliminateCommonSubexpressions
from lutra.passes.dce import EliminateDeadCode
from lutra.passes.fit_rounding import FitRounding
from lutra.passes.fit_weights import FitWeights
from lutra.passes.fuse import FuseRegions
from lutra.passes.import_quantized import ImportQuantized
from lutra.passes.legalize import Legalize
from lutra.passes.lower_quantized import LowerQuantized
from lutra.passes.lower_trees import LowerTrees
from lutra.passes.partition import Partition
from lutra.passes.place_lookups import PlaceLookUps
from lutra.passes.prune import Prune
from lutra.passes.quantize import QuantizeModel
from lutra.passes.ranges import NarrowRanges
from lutra.passes.reach import Margin
from lutra.passes.refresh import RefreshNoise
from lutra.passes.round import RoundAccumulators
from lutra.passes.separate_products import SeparateProducts
from lutra.passes.simplify_lookups import PARTED, SimplifyLookUps
from lutra.passes.spelling import spell
from lutra.passes.split_lookups import SplitLookUps


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
COARSE = 8
"""Bits of those that it leaves as they are."""
HEADROOM = 4.0
"""Of activations on the wide road: tables go on straight where observed ranges end, so that
`split-lookups` finds no bend there. What is observed bounds the accumulators behind."""


@dataclass(frozen=True)
class Wide(Pass):
    """From a float model to a legal circuit of rounded accumulators, by post-training quantization.

    Activations are wide. Each channel's weights are scaled so that its accumulator fills the bits
    that rounding keeps; the accumulator is rounded to `rounding` bits, and all else about the
    channel lives in its own table. Large look-ups become several small ones where that is cheaper.

    weights, output_weights: of the layers before look-ups, and of the last ones (none: the same),
        as `bits` and `output_bits` of `fit-weights`.
    activations, inputs: as of `quantize`; maxima are taken of at most `rounding` bits.
    rounding, exact: bits kept before look-ups, and whether exactly rounded, as of `round`.
    margin: of the observed ranges, as of `ranges`; none takes guaranteed ranges instead.
    method: as of `calibrate`.
    per_channel, symmetric: of the weights, as of `fit-weights`.
    split: `error` of `split-lookups`; none keeps look-ups whole.
    prune: `error` of `prune`; none keeps the look-ups of all elements.

    Of a model that brings its own quantization, all that it quantizes keeps its scales, bits and
    integer weights, and the options for weights, activations and inputs say how the rest is
    quantized. Rounding is what remains lossy then: `qat` does without.
    """

    name = "wide"
    contract = Lossy
    weights: Bits = 6
    activations: Bits = 8
    inputs: Bits = 8
    output_weights: Bits | None = None
    rounding: Bits = 6
    exact: Switch = False
    margin: Margin | None = "auto"
    method: Method = "mse"
    per_channel: bool = True
    symmetric: bool = True
    split: float | None = SplitLookUps.error
    prune: float | None = None

    def __post_init__(self) -> None:
        _check_bits(self)

    def expand(self) -> Sequence[Pass]:
        return (
            *_to_integers(self, FINE, self.per_channel, 0.0 if self.margin is None else HEADROOM),
            _fitted(self, self.rounding),
            *_to_circuit(self, self.rounding, self.exact, split=self.split),
        )


@dataclass(frozen=True)
class Narrow(Pass):
    """From a float model to a legal circuit of exact accumulators, by post-training quantization.

    Weights and activations have few bits, so that accumulators are narrow enough for look-ups to
    read them in full. Nothing is rounded: encrypted results are the clear ones.

    accumulator, guaranteed: bits that accumulators fit, whatever the inputs or on calibration
        data, as of `fit-weights`.

    The other options are those of `wide`.
    """

    name = "narrow"
    contract = Lossy
    weights: Bits = 4
    activations: Bits = 4
    inputs: Bits = 4
    output_weights: Bits | None = None
    margin: Margin | None = "auto"
    method: Method = "mse"
    per_channel: bool = True
    symmetric: bool = True
    accumulator: int | None = None
    guaranteed: bool = True
    prune: float | None = None

    def __post_init__(self) -> None:
        _check_bits(self)

    def expand(self) -> Sequence[Pass]:
        signed = self.accumulator is not None and self.guaranteed
        return (
            *_to_integers(self, FINE, self.per_channel, signed=signed),
            _fitted(self, None, self.accumulator, self.guaranteed),
            *_to_circuit(self),
        )


WIDE = (6, 8, 7, 5, 4)
"""Bits that rounding keeps in what `default` tries, its first choice first."""
NARROW = 3
"""Bits of weights, activations and inputs of what it tries on the narrow road, at most."""


@dataclass(frozen=True)
class Default(Pass):
    """From a float model to a legal circuit, by post-training quantization.

    There are two roads: `wide` rounds wide accumulators to `rounding` bits, `narrow` takes few bits
    of weights and activations and reads accumulators in full. With `rounding=auto` both are tried
    with several bits, and `cheapest` runs the one of the lowest price whose error exceeds the least
    error by no more than `tolerance`. `rounding=none` is the narrow road with the bits that the
    other options say, and `rounding=5` the wide one.

    weights, output_weights, activations, inputs: as of `wide`; what is tried on the narrow road has
        fewer.
    rounding, exact: bits kept before look-ups, and whether exactly rounded, as of `round`.
    margin, method, per_channel, symmetric, split: as of `wide`.
    accumulator, guaranteed: as of `narrow`, where that is the road.
    prune: as of `wide`.
    tolerance: as of `cheapest`.

    Of a model that brings its own quantization, all that it quantizes keeps its scales, bits and
    integer weights, and the options for weights, activations and inputs say how the rest is
    quantized.
    """

    name = "default"
    contract = Lossy
    weights: Bits = 6
    activations: Bits = 8
    inputs: Bits = 8
    output_weights: Bits | None = None
    rounding: Bits | Literal["auto"] | None = "auto"
    exact: Switch = False
    margin: Margin | None = "auto"
    method: Method = "mse"
    per_channel: bool = True
    symmetric: bool = True
    split: float | None = SplitLookUps.error
    accumulator: int | None = None
    guaranteed: bool = True
    prune: float | None = None
    tolerance: float = 0.05

    def __post_init__(self) -> None:
        _check_bits(self)

    @property
    def chooses(self) -> bool:
        """Whether it tries several pipelines."""
        return self.rounding == "auto"

    def expand(self) -> Sequence[Pass]:
        if self.rounding == "auto":
            wide = [(f"wide, {bits} bits", self.wide(bits)) for bits in WIDE]
            narrow = (f"narrow, {NARROW} bits", self._few(NARROW))
            texts = tuple((name, spell(item)) for name, item in [*wide, narrow])
            return (Cheapest(texts, self.tolerance),)
        return (self.narrow() if self.rounding is None else self.wide(self.rounding),)

    def wide(self, rounding: Bits) -> Wide:
        """The wide road with these options."""
        return Wide(rounding=rounding, exact=self.exact, **self._shared(Wide))

    def narrow(self) -> Narrow:
        """The narrow road with these options."""
        return Narrow(**self._shared(Narrow))

    def _few(self, bits: int) -> Narrow:
        """The narrow road with no more than so many bits."""
        given = self._shared(Narrow)
        for name in ("weights", "activations", "inputs"):
            given[name] = _at_most(given[name], bits)
        return Narrow(**{**given, "method": Narrow.method})

    def _shared(self, road: type[Wide | Narrow]) -> dict[str, Any]:
        names = {f.name for f in dataclasses.fields(road)} - {"rounding", "exact"}
        return {name: getattr(self, name) for name in names}


def _check_bits(options: Wide | Narrow | Default | Qat) -> None:
    """Error P002 by the names that the options have here."""
    for name in ("weights", "output_weights", "activations", "inputs", "rounding"):
        bits = getattr(options, name, None)
        if bits not in (None, "auto"):
            check_bits(bits, name, low=1 if name in ("activations", "inputs") else 2)
    check_switch(getattr(options, "exact", False), "exact")


def _at_most(bits: Bits, most: Bits) -> Bits:
    limit = highest(most)
    if isinstance(bits, int):
        return min(bits, limit)
    return tuple((pattern, min(number, limit)) for pattern, number in bits)


READABLE = 12
"""Bits of the largest tables that are made to see where their steps are."""


@dataclass(frozen=True)
class Qat(Pass):
    """From a model that brings its own quantization to a legal circuit of the same integers.

    For models of quantization-aware training, and others with QuantizeLinear and DequantizeLinear
    or QONNX's quantizers: scales, zero points, bits and integer weights are the model's, and the
    integers are those of its own quantized forward pass, up to float rounding where a value lies
    in the middle between two steps.

    weights, activations, inputs: as of `quantize`, for what the model leaves unquantized. Only that
        needs calibration data.
    rounding: bits that look-ups read, as `bits` of `fit-rounding`; none: all of the accumulators.
    exact: round exactly, as of `round`.
    slack: as of `fit-rounding`, where rounding is approximate.
    margin: take observed ranges, as of `ranges`; none takes guaranteed ones, without data.
    method: as of `calibrate`.
    """

    name = "qat"
    contract = Lossy
    weights: Bits = 8
    activations: Bits = 8
    inputs: Bits = 8
    rounding: Bits | None = None
    exact: bool = False
    slack: float = FitRounding.slack
    margin: Margin | None = None
    method: Method = "minmax"

    def __post_init__(self) -> None:
        _check_bits(self)

    def expand(self) -> Sequence[Pass]:
        layers = _to_integers(self, self.weights)
        if self.rounding is None or self.exact:
            return (*layers, *_to_circuit(self, self.rounding, self.exact))
        ranges = () if self.margin is None else (NarrowRanges(self.margin),)
        fit = FitRounding(self.rounding, self.margin is not None, self.slack)
        simplify = SimplifyLookUps(READABLE if highest(self.rounding) <= PARTED else PARTED)
        return (
            *(*layers, *ranges, RoundAccumulators(READABLE, stretch=False)),
            *(Center(), FuseRegions(), simplify, PlaceLookUps(), fit),
            *(Clean(), Partition(), Legalize()),
        )


def _to_integers(
    options: Wide | Narrow | Qat,
    weights: Bits,
    per_channel: bool = True,
    headroom: float = 0.0,
    signed: bool = False,
) -> Sequence[Pass]:
    """From a model to integer layers, of weights with so many bits, and float regions between."""
    rounding = _rounding(options)
    products = () if rounding is None else (SeparateProducts(), Clean())
    return (
        LowerTrees(options.inputs if rounding is None else _at_most(options.inputs, rounding)),
        ImportQuantized(),
        Clean(),
        CheckSupport(),
        *_pruned(options),
        *products,
        Calibrate(options.method, bits=options.activations, inputs=options.inputs),
        QuantizeModel(
            weights,
            options.activations,
            options.inputs,
            per_channel,
            headroom,
            rounding,
            signed,
            coarse=_coarse(options),
        ),
        LowerQuantized(),
    )


def _pruned(options: Wide | Narrow | Qat) -> Sequence[Pass]:
    if isinstance(options, Qat) or options.prune is None:
        return ()
    return (Prune(options.prune), Clean())


def _coarse(options: Wide | Narrow | Qat) -> Bits | None:
    """Bits of weights that cannot be fitted: plain rounding to eight loses next to nothing."""
    if isinstance(options, Wide):
        return COARSE
    return options.weights if isinstance(options, Narrow) else None


def _rounding(options: Wide | Narrow | Qat) -> Bits | None:
    """Bits that rounding keeps before look-ups, None where nothing is rounded."""
    return None if isinstance(options, Narrow) else options.rounding


def _fitted(
    options: Wide | Narrow,
    rounding: Bits | None,
    accumulator: int | None = None,
    guaranteed: bool = True,
) -> FitWeights:
    return FitWeights(
        options.weights,
        options.output_weights,
        rounding,
        FitWeights.margin if options.margin is None else options.margin,
        accumulator,
        guaranteed,
        options.per_channel,
        options.symmetric,
    )


def _to_circuit(
    options: Wide | Narrow | Qat,
    rounding: Bits | None = None,
    exact: Switch = False,
    split: float | None = 0.0,
) -> Sequence[Pass]:
    """From there to a legal circuit: ranges, rounding, tables, and the client's part split off.

    split: `error` of `split-lookups`, none for no such pass.
    """
    passes: list[Pass] = []
    if options.margin is not None:
        passes.append(NarrowRanges(options.margin, rounding))
    if rounding is not None:
        passes.append(RoundAccumulators(rounding, exact=exact))
    passes += [Center(), FuseRegions(), SimplifyLookUps(), Clean(), Partition(), PlaceLookUps()]
    if split is not None:
        passes.append(SplitLookUps(split))
    return (*passes, RefreshNoise(), Legalize())
