"""Ranges of values to quantize, chosen from their histograms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np

from lutra.ir.types import Array
from lutra.passes.quantize import affine_grid
from lutra.passes.statistics import Histogram

Range: TypeAlias = tuple[float, float]

SHARES = np.geomspace(1.0, 0.02, 100)
"""By how much the range of all values is shrunk, in search of a better one."""
ENTROPY_SHARES = SHARES[SHARES >= 0.1]
"""The same for `entropy`: a narrower range tells more and more about fewer and fewer values."""
REFINEMENTS = np.geomspace(1.25, 0.7, 24)
"""By how much each end alone is moved from the best of these."""


def minmax(histogram: Histogram) -> Range:
    """From the smallest to the largest value."""
    return float(histogram.extremes.lo[0]), float(histogram.extremes.hi[0])


def percentile(histogram: Histogram, percent: float) -> Range:
    """The central `percent` percent of the values."""
    counts, (lo, hi) = histogram.counts[0], minmax(histogram)
    share = np.cumsum(counts) / counts.sum()
    outside = (1 - percent / 100) / 2
    first = int(np.searchsorted(share, outside, side="right"))
    last = int(np.searchsorted(share, 1 - outside))
    edges = np.ldexp(histogram.origin[0] + np.arange(len(counts) + 1.0), int(histogram.exponent[0]))
    low, high = edges[min(first, len(counts) - 1)], edges[min(last, len(counts) - 1) + 1]
    return max(lo, float(low)), min(hi, float(high))


def mse(histogram: Histogram, bits: int) -> Range:
    """The range whose quantization to `bits` bits has the least mean squared error."""
    centres, counts = _filled(histogram)
    best, error = minmax(histogram), np.inf
    for candidates in (_shrunk, _other_hi, _other_lo):
        for lo, hi in candidates(best):
            scale, zero_point = affine_grid(lo, hi, bits)
            levels = np.clip(np.rint(centres / scale) + zero_point, 0, 2**bits - 1)
            found = float((counts * (centres - (levels - zero_point) * scale) ** 2).sum())
            if found < error:
                best, error = (lo, hi), found
    return best


def entropy(histogram: Histogram, bits: int) -> Range:
    """The range whose quantization to `bits` bits tells most about the values that remain.

    The Kullback-Leibler divergence is least between the clipped values' distribution and the one in
    which each level's share is spread evenly over the bins that it stands for (Migacz, "8-bit
    Inference with TensorRT", GTC 2017). Zero, which every grid holds, does not count.
    """
    centres, counts = _filled(histogram)
    width = float(np.ldexp(1.0, int(histogram.exponent[0])))
    apart = (centres < 0) | (centres > width)
    centres, counts = centres[apart], counts[apart]
    best, divergence = minmax(histogram), np.inf
    for lo, hi in _shrunk(best, ENTROPY_SHARES) if len(centres) else ():
        inside = (centres >= lo) & (centres <= hi)
        if inside.sum() < 2:
            continue
        scale, zero_point = affine_grid(lo, hi, bits)
        levels = np.clip(np.rint(centres[inside] / scale) + zero_point, 0, 2**bits - 1)
        found = _divergence(counts, inside, levels.astype(np.int64))
        if found < divergence:
            best, divergence = (lo, hi), found
    return best


def _divergence(counts: Array, inside: Array, levels: Array) -> float:
    """KL(clipped || quantized), for `counts` of bins and the levels of those inside the range."""
    kept = counts[inside]
    each = np.bincount(levels, kept) / np.maximum(np.bincount(levels), 1)
    quantized = each[levels] / kept.sum()
    clipped = kept.astype(np.float64)
    first = int(np.argmax(inside))
    clipped[0] += counts[:first].sum()
    clipped[-1] += counts[first + len(kept) :].sum()
    clipped /= clipped.sum()
    return float((clipped * np.log(clipped / quantized)).sum())


def _filled(histogram: Histogram) -> tuple[Array, Array]:
    """(centres, counts) of the bins that hold values."""
    filled = histogram.counts[0] > 0
    return histogram.centres()[0, filled], histogram.counts[0, filled]


def _shrunk(outer: Range, shares: Array = SHARES) -> Iterator[Range]:
    fixed = min(max(0.0, outer[0]), outer[1])
    for share in shares:
        lo, hi = (fixed + (end - fixed) * float(share) for end in outer)
        yield lo, hi


def _other_hi(outer: Range) -> Iterator[Range]:
    lo, hi = outer
    fixed = max(0.0, lo)
    for share in REFINEMENTS:
        yield lo, fixed + (hi - fixed) * float(share)


def _other_lo(outer: Range) -> Iterator[Range]:
    lo, hi = outer
    fixed = min(0.0, hi)
    for share in REFINEMENTS:
        yield fixed + (lo - fixed) * float(share), hi
