"""Histograms of a graph's values on calibration data, counted here or in shards on an executor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lutra.ir.core import Graph, Module, Value
from lutra.ir.errors import InputError
from lutra.ir.interpreter import Interpreter
from lutra.ir.parser import parse_module
from lutra.ir.text import text_of_module
from lutra.ir.types import Array
from lutra.passes.base import BATCH, Context
from lutra.passes.statistics import Histogram

SHARDS = 8
"""Parts of the calibration data that go to an executor, at most: each takes the weights along."""

Groups = Sequence[Sequence[Value]]
"""Values that share a histogram."""


def histograms(
    graph: Graph, groups: Groups, extremes_only: bool, context: Context, wanted_by: str
) -> list[Histogram]:
    """One histogram of all values of each group; `extremes_only` fills nothing else of them.

    On an executor the counts are the same: shards of histograms merge exactly.
    """
    if context.executor is None:
        counter = Counter(graph, groups, extremes_only)
        for batch in context.batches(wanted_by):
            counter.add(batch)
        return counter.histograms
    samples = context.calibration(wanted_by)
    shards = list(_shards(graph, groups, extremes_only, samples))
    total = [Histogram() for _ in groups]
    context.progress(wanted_by, 0, len(shards))
    for done, found in enumerate(context.executor.map(count, shards), 1):
        for histogram, other in zip(total, found, strict=True):
            if extremes_only:
                histogram.extremes.merge(other.extremes)
            else:
                histogram.merge(other)
        context.progress(wanted_by, done, len(shards))
    return total


class Counter:
    """Runs a graph on batches, and counts the values of each group."""

    def __init__(self, graph: Graph, groups: Groups, extremes_only: bool) -> None:
        self.histograms = [Histogram() for _ in groups]
        self._values = [value for group in groups for value in group]
        self._which = [index for index, group in enumerate(groups) for _ in group]
        self._extremes_only = extremes_only
        self._interpreter = Interpreter(graph, self._values)

    def add(self, batch: Mapping[str, Array]) -> None:
        """Count a batch (samples, *shape) by input. Error C002 where it makes NaN or infinity."""
        arrays = self._interpreter.run(batch)
        for value, index, array in zip(self._values, self._which, arrays, strict=True):
            _require_finite(value, array)
            histogram = self.histograms[index]
            if self._extremes_only:
                histogram.extremes.update(array)
            else:
                histogram.update(array)


@dataclass(frozen=True)
class Shard:
    """A part of the data, and the graph as text, for another process.

    places: for each group the numbers of its values' operations and results.
    """

    text: str
    constants: Mapping[str, Array]
    places: Sequence[Sequence[tuple[int, int]]]
    extremes_only: bool
    samples: Mapping[str, Array]


def count(shard: Shard) -> list[Histogram]:
    """The histograms of a shard."""
    (graph,) = parse_module(shard.text, shard.constants).graphs.values()
    ops = list(graph.ops)
    groups = [[ops[op].results[result] for op, result in group] for group in shard.places]
    counter = Counter(graph, groups, shard.extremes_only)
    for start in range(0, len(next(iter(shard.samples.values()))), BATCH):
        counter.add({name: a[start : start + BATCH] for name, a in shard.samples.items()})
    return counter.histograms


def _shards(
    graph: Graph, groups: Groups, extremes_only: bool, samples: Mapping[str, Array]
) -> Iterator[Shard]:
    constants: dict[str, Array] = {}
    text = text_of_module(Module([graph]), 0, constants)
    numbers = {op: number for number, op in enumerate(graph.ops)}
    places = [[(numbers[v.owner], v.owner.results.index(v)) for v in group] for group in groups]
    total = len(next(iter(samples.values())))
    size = BATCH * max(1, -(-total // (BATCH * SHARDS)))
    for start in range(0, total, size):
        part = {name: array[start : start + size] for name, array in samples.items()}
        yield Shard(text, constants, places, extremes_only, part)


def _require_finite(value: Value, array: Array) -> None:
    if not np.isfinite(array).all():
        raise InputError(
            "C002",
            f"calibration makes {int((~np.isfinite(array)).sum())} NaN or infinite values here",
            nodes=value.owner.loc,
            lines=[repr(value.owner)],
            help="look at the inputs: a logarithm or division out of its domain is likely",
        )
