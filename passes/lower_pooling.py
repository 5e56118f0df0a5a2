"""Integer forms of max-pooling: as few maxima of two as windows that overlap allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations

from lutra.ir.core import Value
from lutra.ir.ops import Dequantize, Max, Onnx, Pad, Slice
from lutra.passes.affine import dequantized, varies
from lutra.passes.lower_linear import Lowering
from lutra.passes.rules_linear import padding


def lower_max_pool(op: Onnx) -> Sequence[Dequantize] | None:
    """MaxPool(dequantize(q)) -> dequantize(maxima of shifted slices of q), one axis at a time"""
    x = dequantized(op.input(0))
    if x is None or len(op.results) > 1:
        return None
    rank = len(x.q.shape)
    space = rank - 2
    parameters = (x.scale, x.zero_point, x.offset)
    if (x.scale <= 0).any() or any(varies(a, rank, range(2, rank)) for a in parameters):
        return None
    if op.op_type == "GlobalMaxPool":
        kernel: Sequence[int] = x.q.shape[2:]
        pads = [0] * 2 * space
    else:
        kernel = op.attrs["kernel_shape"]
        pads = padding(op, x.q.shape, kernel)
    strides = op.attrs.get("strides", (1,) * space)
    dilations = op.attrs.get("dilations", (1,) * space)
    value = x.q
    if any(pads):  # by an integer that is no maximum of anything
        value = Pad(value, (0, 0, *pads[:space]), (0, 0, *pads[space:]), value.int_type.min).result
    windows = [
        Windows(axis + 2, value.shape[axis + 2], kernel[axis], strides[axis], dilations[axis])
        for axis in range(space)
    ]
    for window in min(permutations(windows), key=_maxima_of_all):
        value = window.maxima(value)
    return [Dequantize(value, x.scale, x.zero_point, x.offset)]


@dataclass(frozen=True)
class Windows:
    """All windows along one axis of a tensor: `kernel` taps each, `dilation` apart."""

    axis: int
    size: int
    kernel: int
    stride: int
    dilation: int

    @property
    def count(self) -> int:
        return (self.size - (self.kernel - 1) * self.dilation - 1) // self.stride + 1

    def maxima(self, x: Value) -> Value:
        """The maximum of each window."""
        return self._maxima(x, self.kernel, 0, self.count)

    def _maxima(self, x: Value, taps: int, first: int, count: int) -> Value:
        """Maxima of `taps` taps, in `count` windows of which the first starts at `first`."""
        if taps == 1:
            return self._every(x, first, count, self.stride)
        plan = plan_of(taps, count, self.stride, self.dilation)
        shift = (taps - plan.last) * self.dilation
        if plan.shared:
            later = shift // self.stride
            both = self._maxima(x, plan.first, first, count + later)
            parts = (self._every(both, start, count, 1) for start in (0, later))
            return Max(*parts).result
        start = self._maxima(x, plan.first, first, count)
        return Max(start, self._maxima(x, plan.last, first + shift, count)).result

    def _every(self, x: Value, first: int, count: int, step: int) -> Value:
        starts, stops, steps = [0] * len(x.shape), list(x.shape), [1] * len(x.shape)
        starts[self.axis], steps[self.axis] = first, step
        stops[self.axis] = first + (count - 1) * step + 1
        return Slice(x, tuple(starts), tuple(stops), tuple(steps)).result


@dataclass(frozen=True)
class Plan:
    """How maxima over windows are made of those over shorter ones.

    first, last: taps of the two windows, the one at the start and the other at the end, whose
        maxima a window's maximum is the maximum of. They may overlap.
    shared: whether these are the windows of one series, each of which serves twice.
    maxima: of two elements, along one line.
    """

    first: int
    last: int
    shared: bool
    maxima: int


@lru_cache(maxsize=4096)
def plan_of(taps: int, count: int, stride: int, dilation: int) -> Plan:
    """The plan of the fewest maxima for `count` windows, among those tried.

    Shorter windows have a power of two of taps, half of them, or one less.
    """
    if taps == 1:
        return Plan(1, 0, False, 0)

    def maxima(part: int, windows: int) -> int:
        return plan_of(part, windows, stride, dilation).maxima

    plans = []
    doubled = 1 << ((taps - 1).bit_length() - 1)
    for first in dict.fromkeys((doubled, taps // 2, taps - taps // 2, taps - 1)):
        last = taps - first
        plans.append(Plan(first, last, False, maxima(first, count) + maxima(last, count) + count))
        shift = last * dilation
        if 2 * first >= taps and shift % stride == 0:
            plans.append(Plan(first, first, True, maxima(first, count + shift // stride) + count))
    return min(plans, key=lambda plan: plan.maxima)


def _maxima_of_all(windows: Sequence[Windows]) -> int:
    """Maxima that these windows take one axis after the other, for each channel."""
    sizes = {window.axis: window.size for window in windows}
    total = 0
    for window in windows:
        along = plan_of(window.kernel, window.count, window.stride, window.dilation).maxima
        del sizes[window.axis]
        lines = 1
        for size in sizes.values():
            lines *= size
        total += along * lines
        sizes[window.axis] = window.count
    return total


POOLING_LOWERINGS: dict[str, Lowering] = dict.fromkeys(("GlobalMaxPool", "MaxPool"), lower_max_pool)
