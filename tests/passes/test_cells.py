"""Cells: lossless where they can be, and the loss that is expected is the one that comes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import ndtr

from lutra.ir.types import Array, Ints
from lutra.passes import cells
from lutra.passes.cells import Cells, Function


def looked_up(found: Cells, lsbs: int, x: Array, moved: int = 0) -> Array:
    """What a look-up makes of x, if noise moves it by some cells."""
    cell = np.floor((x - found.origin) * found.factor / 2**lsbs).astype(np.int64) + moved
    place = cell % (2 * len(found.table))
    sign = np.where(place < len(found.table), 1, -1)
    return np.asarray((found.middle + sign * found.table[place % len(found.table)]) / 2)


def staircase(x: Array, start: float, step: float, levels: int) -> Ints:
    return np.clip(np.floor((x - start) / step) + 1, 0, levels - 1).astype(np.int64)


def uniform(values: Ints, first: int = 0) -> Function:
    return Function(values, np.ones(len(values)), first)


@given(hnp.arrays(np.int64, st.integers(1, 16), elements=st.integers(-9, 9)), st.integers(-50, 50))
def test_as_many_cells_as_values_lose_nothing(values: Ints, first: int) -> None:
    (found,) = uniform(values, first).cells(4, [0])
    x = first + np.arange(len(values))
    np.testing.assert_array_equal(looked_up(found, 0, x), values)


@given(st.integers(-20, 20), st.integers(2, 9), st.integers(2, 6))
def test_clipped_staircases_need_few_cells(start: int, step: int, levels: int) -> None:
    """The steps, and 2^bits cells to either side of their middle."""
    reach = int(step * (8 - levels / 2))
    middle = start + step * (levels - 2) / 2
    x = np.arange(int(np.ceil(middle - reach)), int(middle + reach))
    values = staircase(x, start, step, levels)
    factors = Function(values, np.ones(len(values)), x[0]).cells(3, range(8))
    found = min(zip(factors, range(8), strict=True), key=lambda pair: pair[0].loss)
    np.testing.assert_array_equal(looked_up(*found, x), values)


@given(
    hnp.arrays(np.int64, st.integers(8, 40), elements=st.integers(-5, 5)),
    st.integers(1, 3),
    st.integers(0, 4),
    st.integers(0, 2**32 - 1),
)
def test_the_loss_is_what_is_to_be_expected(values: Ints, bits: int, lsbs: int, seed: int) -> None:
    weights = np.random.default_rng(seed).uniform(0, 1, len(values))
    (found,) = Function(values, weights, -7).cells(bits, [lsbs])
    x = -7.0 + np.arange(len(values))
    place = (x - found.origin) * found.factor / 2**lsbs
    part = place - np.floor(place)
    below, above = ndtr(-part / cells.NOISE), ndtr((part - 1) / cells.NOISE)
    chances = {-1: below, 0: 1 - below - above, 1: above}
    errors = (p * (looked_up(found, lsbs, x, i) - values) ** 2 for i, p in chances.items())
    expected = np.average(np.sum(list(errors), axis=0), weights=weights)
    assert found.loss == pytest.approx(expected, abs=1e-9)


def test_where_values_are_rare_cells_may_be_wrong() -> None:
    x = np.arange(-200, 200)
    values = staircase(x, 3, 5.5, 4)
    often = np.exp(-((x / 15.0) ** 2))
    for weights, wrong in ((np.ones(len(x)), 0.3), (often, 2e-2)):
        found = Function(values, weights, x[0]).cells(3, [6])[0]
        errors = (looked_up(found, 6, x) - values) ** 2
        assert np.average(errors, weights=weights) < wrong
