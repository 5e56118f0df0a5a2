"""Pass `ranges`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lutra.ir.core import Graph, Value
from lutra.ir.interpreter import Interpreter
from lutra.ir.ops import Assume, Dequantize
from lutra.ir.rewriter import Rewriter, merge
from lutra.passes.base import Context, Lossy, Pass
from lutra.passes.bits import Bits, check_bits
from lutra.passes.dce import eliminate_dead_code
from lutra.passes.reach import Margin, Reach, check_margin
from lutra.passes.regions import channel_axes, look_up_sources, read_instead, regions
from lutra.passes.round import RoundAccumulators


@dataclass(frozen=True)
class NarrowRanges(Pass):
    """Narrow the ranges of look-up inputs to what calibration observes, plus a margin.

    Without this pass all ranges are guaranteed: exact interval arithmetic over the weights, which
    no input can leave, but which few inputs come near. Observed ranges are taken for each output
    channel and widened by `margin` of their width at both ends. An input that leaves them all the
    same makes its look-up wrap; `assume` counts such events.

    margin: a share; or `auto`, for each layer and end that of the least expected squared error: a
        wider range makes the cells wider that `rounding` keeps, a narrower one wraps more often,
        extrapolated from how much the ends move with the number of samples.
    rounding: bits that `round` will keep; none: all of them.

        %0 = conv %x : i12 in [-2040, 1800]    ->    %1 = assume %0, lo=[-300], hi=[620]
    """

    name = "ranges"
    contract = Lossy
    requires = frozenset({"regions"})
    margin: Margin = "auto"
    rounding: Bits | None = None

    def __post_init__(self) -> None:
        check_margin(self.margin)
        if self.rounding is not None:
            check_bits(self.rounding, "rounding", low=2)

    def run(self, graph: Graph, rewriter: Rewriter, context: Context) -> None:
        sources = look_up_sources(graph)
        if not sources:
            return
        values = [source.q for source in sources]
        axes = [channel_axes(source) for source in sources]
        reaches = self._observe(graph, values, axes, context)
        if self.rounding is not None:
            # once more, on what look-ups make of rounded accumulators
            twin, twins = _twin(graph)
            self._narrow(twin, Rewriter(twin), reaches)
            RoundAccumulators(self.rounding).run(twin, Rewriter(twin), context)
            reaches = self._observe(twin, [twins[value] for value in values], axes, context)
        self._narrow(graph, rewriter, reaches)

    def _observe(
        self,
        graph: Graph,
        values: Sequence[Value],
        axes: Sequence[Sequence[int]],
        context: Context,
    ) -> list[Reach]:
        interpreter = Interpreter(graph, values)
        found = [Reach(kept) for kept in axes]
        for samples in context.batches(self.name):
            for reach, array in zip(found, interpreter.run(samples), strict=True):
                reach.update(array)
        return found

    def _narrow(self, graph: Graph, rewriter: Rewriter, reaches: Sequence[Reach]) -> None:
        narrowed: dict[Dequantize, Dequantize] = {}
        for source, reach in zip(look_up_sources(graph), reaches, strict=True):
            names = merge(source.q.owner.loc, source.loc)
            assume = Assume(source.q, *reach.bounds(self.margin, self.rounding, names))
            if assume.result.type != source.q.type:
                rewriter.insert_after(source.q, assume)
                narrowed[source] = source.copy({source.q: assume.result})
        for region in list(regions(graph)):
            if region.source in narrowed:
                read_instead(region, narrowed[region.source], rewriter)
        eliminate_dead_code(graph, rewriter)


def _twin(graph: Graph) -> tuple[Graph, dict[Value, Value]]:
    """A copy of a graph, and which of its values are whose copies."""
    twin = graph.clone()
    pairs = zip(graph.ops, twin.ops, strict=True)
    return twin, {v: w for a, b in pairs for v, w in zip(a.results, b.results, strict=True)}
