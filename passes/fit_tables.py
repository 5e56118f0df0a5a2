"""Pass `fit-tables`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression

from lutra.ir.core import Graph
from lutra.ir.errors import PipelineError
from lutra.ir.interpreter import Interpreter
from lutra.ir.types import Array, Ints, Shape
from lutra.passes.base import Context, Lossy
from lutra.passes.fuse import FuseRegions, float_entries, quantized_entries
from lutra.passes.regions import Region, channel_axes


@dataclass(frozen=True)
class FitTables(FuseRegions):
    """As `fuse`, with each table's entries fitted to the float model on calibration data.

    An entry is read for many accumulators, rounded to one value, of a channel whose weights are
    rounded too. The level that errs least in squares is the mean of what the float model has there.
    The mean is taken with `prior` samples of the function itself at the cell's centre, so that rare
    cells keep to it, and made monotone where the function is. Look-ups are fitted in order, each
    on the inputs that the ones before it, fitted already, produce.

    No preset does it: behind `fit-weights`, which aims at the float model already and leaves no
    mean error to tables, the error on unseen samples changed by -4 to +2 % in ten settings.

    Needs `calibrate` in the same run, which keeps the float model for comparison; without it, all
    tables are the function itself.
    """

    name = "fit-tables"
    contract = Lossy
    prior: float = 4.0

    def __post_init__(self) -> None:
        if self.prior <= 0:
            raise PipelineError("P002", f"`prior` is {self.prior}, not a positive number")

    def table(self, region: Region, inputs: Ints, graph: Graph, context: Context) -> Ints:
        entries = float_entries(region, inputs)
        graph_before = context.notes.reference
        reference = context.notes.reference_values.get(region.sink.loc)
        if graph_before is None or reference is None or reference.shape != region.sink.x.shape:
            return quantized_entries(region, entries)
        shape = self._tables(region, entries)
        entries = np.array(np.broadcast_to(entries, (*shape, len(inputs))), dtype=np.float64)
        sums, counts = np.zeros(entries.shape), np.zeros(entries.shape)
        integer = Interpreter(graph, [region.source.q])
        floating = Interpreter(graph_before, [reference])
        for batch in context.batches(self.name):
            (q,), (y,) = integer.run(batch), floating.run(batch)
            _collect(q - inputs[0], y, sums, counts)
        fitted = (sums + self.prior * entries) / (counts + self.prior)
        for channel in np.ndindex(shape):
            weights = counts[channel] + self.prior
            fitted[channel] = _monotone(entries[channel], fitted[channel], weights)
        return quantized_entries(region, fitted)

    @staticmethod
    def _tables(region: Region, entries: Array) -> Shape:
        """Shape of the tables' leading axes: one table for each channel."""
        shape = region.source.q.shape
        axes = channel_axes(region.source)
        return tuple(
            size if axis in axes else given
            for axis, (size, given) in enumerate(zip(shape, entries.shape[:-1], strict=True))
        )


def _collect(cells: Ints, y: Array, sums: Array, counts: Array) -> None:
    """Add values y (samples, *shape) to the cells that they were read from."""
    *lead, entries = sums.shape
    which = np.arange(int(np.prod(lead))).reshape(lead)
    where = np.broadcast_to(which, cells.shape) * entries + cells
    inside = (cells >= 0) & (cells < entries)
    flat = where[inside]
    counts += np.bincount(flat, minlength=counts.size).reshape(counts.shape)
    weights = y[inside].astype(np.float64)
    sums += np.bincount(flat, weights=weights, minlength=sums.size).reshape(sums.shape)


def _monotone(function: Array, fitted: Array, weights: Array) -> Array:
    """The nearest monotone table where the function itself is monotone."""
    steps = np.diff(function)
    if not ((steps >= 0).all() or (steps <= 0).all()):
        return fitted
    increasing = bool((steps >= 0).all())
    result = isotonic_regression(fitted, weights=weights, increasing=increasing)
    return np.asarray(result.x)
