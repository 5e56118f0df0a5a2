"""Pass `round`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lutra.ir.core import Graph
from lutra.ir.ops import AddClear, Dequantize, MulClear, Round
from lutra.ir.rewriter import Rewriter, merge
from lutra.passes.affine import ZERO
from lutra.passes.base import Context, Lossy, Pass
from lutra.passes.bits import Bits, Switch, bits_for, check_bits, check_switch, switched
from lutra.passes.dce import eliminate_dead_code
from lutra.passes.regions import read_instead, regions


@dataclass(frozen=True)
class RoundAccumulators(Pass):
    """Keep `bits` significant bits of every look-up's input.

    What a look-up costs depends on the bits it reads. Each channel is stretched by an integer
    factor and shifted, so that its range [lo, hi] fills 2^bits - 1 cells of 2^lsbs, then the lsbs
    are rounded away:

        dequantize(x)    ->    dequantize(round(k * x + c))        with scale and offset to match

    The look-up's table, built later over the 2^bits rounded values, absorbs stretch, shift and the
    rounding's bias. The highest value stays below the centre of the topmost cell, so rounding never
    overflows. Look-ups that read no more than `bits` bits already are left exact.

    bits: one number, or a map from patterns of layers' names.
    exact: round exactly, for one 1-bit PBS a dropped bit, instead of approximately; for all layers,
        or a map such as {"/conv1/*"=true}.
    stretch: let every channel fill the range; else all channels share the widest one's cells.
    resolution: channels are stretched to at least `resolution` times the widest range before
        rounding, so that integer factors meet the ratio of two ranges up to 1 / resolution.
        Larger factors make larger weights, whose noise costs; `fit-weights` before needs none.
    """

    name = "round"
    contract = Lossy
    requires = frozenset({"regions"})
    bits: Bits = 6
    exact: Switch = False
    stretch: bool = True
    resolution: int = 1

    def __post_init__(self) -> None:
        check_bits(self.bits, "bits", low=2)
        check_switch(self.exact, "exact")

    def run(self, graph: Graph, rewriter: Rewriter, context: Context) -> None:
        found = list(regions(graph))
        replaced: dict[Dequantize, Dequantize | None] = {}
        for source in dict.fromkeys(region.source for region in found):
            layer = merge(source.q.owner.loc, source.loc)
            replaced[source] = rounded(
                source,
                bits_for(self.bits, layer, "bits"),
                exact=switched(self.exact, layer),
                stretch=self.stretch,
                resolution=self.resolution,
            )
        for region in found:
            new = replaced[region.source]
            if new is not None:
                read_instead(region, new, rewriter)
        eliminate_dead_code(graph, rewriter)


def rounded(
    source: Dequantize,
    bits: int,
    *,
    exact: bool = False,
    stretch: bool = True,
    resolution: int = 1,
) -> Dequantize | None:
    """The same floats of integers rounded to `bits` bits, detached; None if they have no more."""
    type = source.q.int_type
    lo, hi = np.broadcast_arrays(type.lo, type.hi)
    widest = int((hi - lo).max())
    cells = 2**bits - 1
    if widest <= cells:
        return None
    lsbs = max(1, math.ceil(math.log2(widest * (resolution if stretch else 1) / cells)))
    room = cells << lsbs
    width = np.maximum(hi - lo, 1)
    if not stretch:
        width = width.max(keepdims=True)
    # a channel that hardly moves needs no more resolution than one step a cell
    factor = np.minimum(room // width, room // 2)
    shift = -(1 << (bits - 1 + lsbs)) - factor * lo + (room - factor * (hi - lo)) // 2
    moved = AddClear(MulClear(source.q, factor).result, shift)
    q = Round(moved.result, lsbs, exact)
    # rounded value i stands for x = (i * 2^lsbs - shift) / factor
    scale = source.scale.astype(np.float64)
    offset = source.offset - scale * (shift / factor + source.zero_point)
    return Dequantize(q.result, scale * 2.0**lsbs / factor, ZERO, offset)
