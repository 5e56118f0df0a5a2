"""Streaming statistics."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lutra.ir.types import Array
from lutra.passes.statistics import BINS, Extremes, Histogram

AXES = ((), (0,), (1, 2))


@st.composite
def tensors(draw: st.DrawFn) -> Array:
    """Batches (samples, 2, 3, 2) of all magnitudes, perhaps constant, with channels unlike."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = (draw(st.integers(1, 30)), 2, 3, 2)
    scale = 10.0 ** draw(st.integers(-30, 30)) * 10.0 ** rng.integers(-4, 5, (1, 2, 1, 1))
    offset = draw(st.sampled_from([0, 0, 1, -1, 1e5])) * scale
    spread = draw(st.sampled_from([0.0, 1.0, 1.0]))
    return np.asarray(rng.standard_normal(shape) * scale * spread + offset, np.float32)


@given(tensors(), st.sampled_from(AXES), st.integers(0, 2**32))
def test_merged_shards_are_one_pass(x: Array, axes: tuple[int, ...], seed: int) -> None:
    whole = Histogram(axes)
    whole.update(x)
    rng = np.random.default_rng(seed)
    shards = np.split(rng.permutation(x), np.sort(rng.integers(0, len(x) + 1, 3)))
    merged = Histogram(axes)
    for shard in shards:
        part = Histogram(axes)
        for sample in shard[:, None]:
            part.update(sample)
        merged.merge(part)
    for name in ("counts", "origin", "exponent"):
        assert np.array_equal(getattr(whole, name), getattr(merged, name)), name
    assert np.array_equal(whole.extremes.lo, merged.extremes.lo)
    assert np.array_equal(whole.extremes.hi, merged.extremes.hi)


@given(tensors(), st.sampled_from(AXES))
def test_bins_hold_the_values_that_they_say(x: Array, axes: tuple[int, ...]) -> None:
    histogram = Histogram(axes)
    for sample in x[:, None]:
        histogram.update(sample)
    rows = histogram.rows(x)
    assert histogram.counts.sum() == x.size
    assert np.array_equal(histogram.extremes.lo, rows.min(1))
    for row, values in enumerate(rows):
        width = np.ldexp(1.0, int(histogram.exponent[row]))
        edges = (histogram.origin[row] + np.arange(BINS + 1.0)) * width
        assert np.array_equal(histogram.counts[row], np.histogram(values, edges)[0])
        spread = float(values.max()) - float(values.min())
        assert spread < width * BINS
        if spread > np.abs(values).max() * 1e-6:
            assert spread > width * (BINS / 2 - 2)  # no coarser than need be


def test_one_row_for_each_channel() -> None:
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    extremes = Extremes((0,))
    extremes.update(x[:1])
    assert extremes.lo.tolist() == [0, 4, 8]
    extremes.update(x[1:])
    assert (extremes.lo.tolist(), extremes.hi.tolist()) == ([0, 4, 8], [15, 19, 23])


def test_nothing_seen_changes_nothing() -> None:
    histogram = Histogram()
    histogram.update(np.ones((0, 2), np.float32))
    histogram.merge(Histogram())
    assert histogram.counts.sum() == 0
    histogram.update(np.float32([[1, 2]]))
    histogram.merge(Histogram())
    assert histogram.counts.sum() == 2
    assert histogram.extremes.hi.item() == 2


@pytest.mark.parametrize("axes", AXES)
def test_centres_are_within_the_data(axes: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=(100, 2, 3, 2)).astype(np.float32)
    histogram = Histogram(axes)
    histogram.update(x)
    rows, centres = histogram.rows(x), histogram.centres()
    assert (centres.min(1) >= rows.min(1)).all()
    assert (centres.max(1) <= rows.max(1)).all()
    means = (centres * histogram.counts).sum(1) / histogram.counts.sum(1)
    assert np.allclose(means, rows.mean(1), atol=1e-3)
