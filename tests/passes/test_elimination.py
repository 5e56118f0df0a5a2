"""Linear fits that do with few of their features."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lutra.passes.elimination import Problem

few = settings(max_examples=20)


def problem(seed: int, rows: int = 100, n: int = 8, m: int = 3, outputs: int = 4) -> Problem:
    rng = np.random.default_rng(seed)
    free = rng.normal(size=(rows, m))
    stand_in = rng.normal(size=(m, n))
    costly = np.maximum(free @ stand_in + rng.normal(size=(rows, n)), 0)
    weights = rng.normal(size=(n, outputs))
    return Problem(costly, free, costly @ weights + rng.normal(size=outputs), weights, stand_in)


@few
@given(st.integers(0, 10**6))
def test_all_features_fit_exactly(seed: int) -> None:
    given = problem(seed)
    assert given.fit(np.arange(8)).error(given) < 1e-12


@few
@given(st.integers(0, 10**6), st.sets(st.integers(0, 7), min_size=1, max_size=7))
def test_what_nothing_reads_goes_first(seed: int, unread: set[int]) -> None:
    given = problem(seed)
    given.weights[sorted(unread)] = 0
    read = Problem(
        given.costly, given.free, given.costly @ given.weights, given.weights, given.stand_in
    )
    assert set(read.order[: len(unread)].tolist()) == unread
    assert {*read.fewest(1e-9).kept.tolist()} <= {*range(8)} - unread


@few
@given(st.integers(0, 10**6))
def test_what_free_features_say_goes_first(seed: int) -> None:
    """Functions that are straight on all rows are linear in what they read."""
    given = problem(seed)
    straight = given.free @ given.stand_in
    costly = np.where(np.arange(8) < 4, straight, given.costly)
    linear = Problem(costly, given.free, costly @ given.weights, given.weights, given.stand_in)
    assert set(linear.order[:4].tolist()) == {0, 1, 2, 3}


@few
@given(st.integers(0, 10**6), st.floats(0.001, 1.0))
def test_the_error_is_held_by_as_few_as_can_be(seed: int, share: float) -> None:
    given = problem(seed)
    allowed = share * float(given.target.var(0).sum())
    fit = given.fewest(allowed)
    seen, held_out = given.rows(slice(0, None, 2)), given.rows(slice(1, None, 2))
    assert seen.fit(fit.kept).error(held_out) <= allowed
    if len(fit.kept):
        one_less = np.sort(given.order[len(given.order) - len(fit.kept) + 1 :])
        assert seen.fit(one_less).error(held_out) > allowed
