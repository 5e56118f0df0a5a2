"""Pass `ranges`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lutra.ir.core import Graph, Value
from lutra.ir.errors import PipelineError
from lutra.ir.interpreter import Interpreter
from lutra.ir.ops import Assume, Dequantize
from lutra.ir.rewriter import Rewriter
from lutra.ir.types import Array, Ints
from lutra.passes.base import Context, Lossy, Pass
from lutra.passes.dce import eliminate_dead_code
from lutra.passes.regions import channel_axes, read_instead, regions


@dataclass(frozen=True)
class NarrowRanges(Pass):
    """Narrow the ranges of look-up inputs to what calibration observes, plus a margin.

    Without this pass all ranges are guaranteed: exact interval arithmetic over the weights, which
    no input can leave, but which few inputs come near. Observed ranges are taken for each output
    channel and widened by `margin` of their width on both sides. An input that leaves them all the
    same makes its look-up wrap; `assume` counts such events.

        %0 = conv %x : i12 in [-2040, 1800]    ->    %1 = assume %0, lo=[-300], hi=[620]
    """

    name = "ranges"
    contract = Lossy
    requires = frozenset({"regions"})
    margin: float = 0.1

    def __post_init__(self) -> None:
        if self.margin < 0:
            raise PipelineError("P002", f"`margin` is {self.margin}, a share that is not negative")

    def run(self, graph: Graph, rewriter: Rewriter, context: Context) -> None:
        found = list(regions(graph))
        sources = list(dict.fromkeys(region.source for region in found))
        if not sources:
            return
        keep = [channel_axes(source) for source in sources]
        bounds = self._observe(graph, [source.q for source in sources], keep, context)
        narrowed: dict[Dequantize, Dequantize] = {}
        for source, (lo, hi) in zip(sources, bounds, strict=True):
            wider = np.ceil((hi - lo) * self.margin).astype(np.int64) + 1
            assume = Assume(source.q, lo - wider, hi + wider)
            if assume.result.type != source.q.type:
                rewriter.insert_after(source.q, assume)
                narrowed[source] = source.copy({source.q: assume.result})
        for region in found:
            if region.source in narrowed:
                read_instead(region, narrowed[region.source], rewriter)
        eliminate_dead_code(graph, rewriter)

    def _observe(
        self,
        graph: Graph,
        values: Sequence[Value],
        keep: Sequence[Sequence[int]],
        context: Context,
    ) -> list[tuple[Ints, Ints]]:
        interpreter = Interpreter(graph, values)
        found: list[tuple[Ints, Ints]] = []
        for samples in context.batches(self.name):
            reached = [
                _extremes(array, axes)
                for array, axes in zip(interpreter.run(samples), keep, strict=True)
            ]
            found = [
                (np.minimum(a[0], b[0]), np.maximum(a[1], b[1]))
                for a, b in zip(found or reached, reached, strict=True)
            ]
        return found


def _extremes(array: Array, axes: Sequence[int]) -> tuple[Ints, Ints]:
    """Least and greatest values [*shape] along `axes`, of an array (samples, *shape)."""
    others = tuple(i for i in range(array.ndim) if i - 1 not in axes)
    return array.min(others, keepdims=True)[0], array.max(others, keepdims=True)[0]
