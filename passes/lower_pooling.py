"""Integer forms of max-pooling: as few maxima of two as windows that overlap allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise, permutations

from lutra.ir.core import Value
from lutra.ir.ops import Concat, Dequantize, Max, Onnx, Pad, Slice
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
    windows = [
        Windows(
            axis + 2,
            value.shape[axis + 2],
            kernel[axis],
            strides[axis],
            dilations[axis],
            (pads[axis], pads[axis + space]),
        )
        for axis in range(space)
    ]
    for window in min(permutations(windows), key=_maxima_of_all):
        value = window.maxima(value)
    return [Dequantize(value, x.scale, x.zero_point, x.offset)]


@dataclass(frozen=True)
class Windows:
    """All windows along one axis of a tensor: `kernel` taps each, `dilation` apart.

    pads: places before and behind the tensor that windows reach; they hold no maximum of anything.
    """

    axis: int
    size: int
    kernel: int
    stride: int
    dilation: int
    pads: tuple[int, int] = (0, 0)

    @property
    def count(self) -> int:
        reach = (self.kernel - 1) * self.dilation + 1
        return (self.size + sum(self.pads) - reach) // self.stride + 1

    def maxima(self, x: Value) -> Value:
        """The maximum of each window."""
        if self.dilation > 1 and any(self.pads):  # windows may have padding between elements
            wide = _padded(x, self.axis, *self.pads)
            return replace(self, size=wide.shape[self.axis], pads=(0, 0)).maxima(wide)
        series = self._maxima(x, self.kernel, -self.pads[0], self.count)
        return _padded(series.value, self.axis, series.first, self.count - series.stop)

    def _maxima(self, x: Value, taps: int, start: int, count: int) -> Series:
        """Maxima of `taps` taps, in `count` windows of which the first starts at `start`."""
        if taps == 1:
            return self._every(x, start, count)
        plan = plan_of(taps, count, self.stride, self.dilation)
        shift = (taps - plan.last) * self.dilation
        if plan.shared:
            later = shift // self.stride
            both = self._maxima(x, plan.first, start, count + later)
            return both.part(0, count).max(both.part(later, count))
        first = self._maxima(x, plan.first, start, count)
        return first.max(self._maxima(x, plan.last, start + shift, count))

    def _every(self, x: Value, start: int, count: int) -> Series:
        """The elements `stride` apart, where there are any."""
        first = min(count, max(0, -(start // self.stride)))
        stop = max(first, min(count, (self.size - 1 - start) // self.stride + 1))
        place = start + first * self.stride
        value = _slice(x, self.axis, place, stop - first, self.stride)
        return Series(value, self.axis, first, stop)


@dataclass(frozen=True)
class Series:
    """A maximum for each of the windows `first` to `stop` - 1; the others hold only padding."""

    value: Value
    axis: int
    first: int
    stop: int

    def part(self, start: int, count: int) -> Series:
        """`count` windows from a window on, counted anew."""
        first = min(max(self.first - start, 0), count)
        stop = min(max(self.stop - start, first), count)
        return replace(self._between(first + start, stop + start), first=first, stop=stop)

    def _between(self, first: int, stop: int) -> Series:
        if (first, stop) == (self.first, self.stop):
            return self
        value = _slice(self.value, self.axis, first - self.first, stop - first, 1)
        return Series(value, self.axis, first, stop)

    def max(self, other: Series) -> Series:
        """The larger one of each window; of a window that one of the two lacks, the other's.

        Without dilation, the windows that neither has are at the ends.
        """
        if self.first == self.stop or other.first == other.stop:
            return other if self.first == self.stop else self
        ends = sorted({self.first, self.stop, other.first, other.stop})
        values = []
        for first, stop in pairwise(ends):
            sources = [s for s in (self, other) if s.first <= first and stop <= s.stop]
            parts = [source._between(first, stop).value for source in sources]
            values.append(Max(*parts).result if len(parts) == 2 else parts[0])
        value = values[0] if len(values) == 1 else Concat(tuple(values), self.axis).result
        return Series(value, self.axis, ends[0], ends[-1])


def _slice(x: Value, axis: int, start: int, count: int, step: int) -> Value:
    starts, stops, steps = [0] * len(x.shape), list(x.shape), [1] * len(x.shape)
    starts[axis], steps[axis] = start, step
    stops[axis] = start + max(0, (count - 1) * step + 1)
    return Slice(x, tuple(starts), tuple(stops), tuple(steps)).result


def _padded(x: Value, axis: int, before: int, after: int) -> Value:
    """x with so many more elements around it along an axis, no maxima of anything."""
    if before == after == 0:
        return x
    widths = [[width * (i == axis) for i in range(len(x.shape))] for width in (before, after)]
    return Pad(x, tuple(widths[0]), tuple(widths[1]), x.int_type.min).result


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
