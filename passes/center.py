"""Pass `center`."""

from __future__ import annotations

from dataclasses import dataclass

from lutra.ir.core import Graph
from lutra.ir.ops import AddClear, Dequantize, Round
from lutra.ir.rewriter import Rewriter
from lutra.passes.base import Context, Pass, Within
from lutra.passes.regions import look_up_sources


@dataclass(frozen=True)
class Center(Pass):
    """Shift each channel's look-up input so that its range lies around 0, where that saves a bit.

    The shift costs nothing and the dequantization takes it back:

        dequantize(x, z)    ->    dequantize(x + c, z + c)        x in [100, 131]: u8 -> i5
    """

    name = "center"
    contract = Within(1e-5)
    requires = frozenset({"regions"})

    def run(self, graph: Graph, rewriter: Rewriter, context: Context) -> None:
        for source in look_up_sources(graph):
            if isinstance(source.q.owner, Round):
                continue  # has its place in the middle already, and only look-ups may read it
            type = source.q.int_type
            shift = -((type.lo + type.hi + 1) // 2)
            shifted = AddClear(source.q, shift)
            if shifted.result.int_type.bits < type.bits:
                zero_point = source.zero_point + shift
                new = Dequantize(shifted.result, source.scale, zero_point, source.offset)
                rewriter.replace(source, new)
