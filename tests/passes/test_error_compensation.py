"""Weights [outputs, inputs] that become integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lutra.ir.types import Array
from lutra.passes.error_compensation import (
    Limits,
    damped,
    descend,
    losses,
    round_compensated,
    taken,
)
from lutra.passes.weight_fit import LayerFit, SumFit, ridge


def problem(seed: int, outputs: int = 6, inputs: int = 12) -> tuple[Array, Array]:
    """Weights of a few units, and a covariance of inputs that resemble each other."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(400, inputs)) @ rng.normal(size=(inputs, inputs))
    return rng.normal(size=(outputs, inputs)) * 2, np.cov(mixed, rowvar=False)


def limits(outputs: int, top: float, budget: float | None = None, inputs: int = 12) -> Limits:
    bounds = np.full(outputs, top)
    if budget is None:
        return Limits(-bounds, bounds)
    reach = np.stack([np.full(inputs, 3.0), np.full(inputs, 1.0)])
    return Limits(-bounds, bounds, np.full((2, outputs), budget), reach)


@given(st.integers(0, 1000))
def test_compensation_and_descent_lose_less_and_less(seed: int) -> None:
    weights, covariance = problem(seed)
    free = Limits.none(len(weights))
    rounded = round_compensated(weights, covariance, free)
    moved = descend(weights, rounded, covariance, free)
    for integers in (rounded, moved):
        assert (integers == np.rint(integers)).all()
    target = damped(covariance)
    before, after = (losses(weights - q, target) for q in (rounded, moved))
    assert (after <= before * (1 + 1e-9)).all()


def test_they_lose_less_than_plain_rounding() -> None:
    kept = []
    for seed in range(30):
        weights, covariance = problem(seed)
        free, target = Limits.none(len(weights)), damped(covariance)
        moved = descend(weights, round_compensated(weights, covariance, free), covariance, free)
        plain = losses(weights - np.rint(weights), target).sum()
        kept.append(losses(weights - moved, target).sum() / plain)
    assert np.mean(kept) < 0.7


def compensated_one_by_one(weights: Array, covariance: Array) -> Array:
    """GPTQ as its authors write it, with the inverse covariance of what is left at every step."""
    covariance = damped(covariance)
    order = np.argsort(-np.diag(covariance), kind="stable")
    rest, result = weights.copy(), np.empty_like(weights)
    for i, target in enumerate(order):
        result[:, target] = np.rint(rest[:, target])
        later = order[i + 1 :]
        inverse = np.linalg.inv(covariance[np.ix_(order[i:], order[i:])])
        error = (rest[:, target] - result[:, target]) / inverse[0, 0]
        rest[:, later] -= error[:, None] * inverse[0, 1:]
    return result


@pytest.mark.parametrize("rows", [5, 20, 400])
def test_few_rows_and_blocks_give_what_single_steps_give(rows: int) -> None:
    rng = np.random.default_rng(rows)
    x = rng.normal(size=(rows, 150)) @ rng.normal(size=(150, 150))
    x -= x.mean(0)
    weights = rng.normal(size=(6, 150)) * 2
    covariance = x.T @ x / rows
    wanted = compensated_one_by_one(weights, covariance)
    for given_rows in (x, None):
        found = round_compensated(weights, covariance, Limits.none(6), given_rows)
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("rows", [30, 60])
def test_ridge_solves_whichever_system_is_smaller(rows: int) -> None:
    rng = np.random.default_rng(1)
    x, truth = rng.normal(size=(rows, 40)), rng.normal(size=(40, 3))
    y = x @ truth
    solved = ridge(x, y)
    assert np.square(x @ solved - (y - y.mean(0))).mean() < 0.1 * np.square(y - y.mean(0)).mean()


@given(st.integers(0, 1000), st.sampled_from([1.0, 3.0]), st.sampled_from([None, 0.0, 9.0, 40.0]))
def test_integers_keep_their_limits(seed: int, top: float, budget: float | None) -> None:
    weights, covariance = problem(seed)
    bounds = limits(len(weights), top, budget)
    rounded = round_compensated(weights, covariance, bounds)
    for integers in (rounded, descend(weights, rounded, covariance, bounds)):
        assert np.abs(integers).max() <= top
        if budget is not None:
            assert bounds.reach is not None
            assert (taken(integers, bounds.reach).sum(-1) <= budget).all()


@given(st.integers(0, 1000), st.floats(0.5, 60))
def test_affordable_weights_are_the_nearest(seed: int, budget: float) -> None:
    rng = np.random.default_rng(seed)
    weights, cost = rng.normal(size=(2, 8)) * 3, rng.uniform(1, 4, 8)
    room, reach = np.full((2, 2), budget), np.stack([cost, cost])
    bounds = Limits(np.full(2, -9.0), np.full(2, 9.0), room, reach)
    found = bounds.affordable(weights)
    spent = (np.abs(found) * cost).sum(1)
    assert (spent <= budget * (1 + 1e-9) + 1e-9).all()
    distance = np.square(found - weights).sum(1)
    for _ in range(50):
        other = found + rng.normal(size=found.shape) * 0.1
        other *= np.minimum(1, budget / (np.abs(other) * cost).sum(1))[:, None]
        assert (np.square(other - weights).sum(1) >= distance - 1e-6).all()


def test_ridge_finds_what_is_there_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 10))
    x -= x.mean(0)
    truth = rng.normal(size=(10, 2))
    noise = rng.normal(size=(400, 2))
    assert np.abs(ridge(x, x @ truth + 0.1 * noise) - truth).max() < 0.05
    assert not ridge(x, rng.normal(size=(400, 2)))[:0].size
    assert np.abs(ridge(x[:30], rng.normal(size=(30, 2)))).max() < 0.5
    assert not ridge(x[:1], noise[:1]).any()


def layer(seed: int = 0, outputs: int = 4, groups: int = 1, inputs: int = 6) -> LayerFit:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 8, (groups, 300, inputs))
    return LayerFit(rng.normal(size=(outputs, inputs)), x, np.full((groups, 2, inputs), 7.0))


@pytest.mark.parametrize("groups", [1, 2])
def test_a_layer_comes_nearer_to_another_target(groups: int) -> None:
    fitted = layer(groups=groups)
    other = layer(1, groups=groups)
    target = fitted.output(other.weights)
    fit = SumFit([fitted], [], target)
    before = np.square(target - fit.output()).mean()
    fit.correct()
    assert np.square(target - fit.output()).mean() < 0.01 * before


def test_fixed_values_stay_whole_multiples() -> None:
    rng = np.random.default_rng(0)
    value = rng.integers(0, 16, (300, 4)).astype(np.float64)
    fitted = layer()
    factor = np.array([1.0, -2.0, 30.0, 7.0])
    fit = SumFit([fitted], [(value, factor, np.full((2, 4), 15.0))], np.zeros((300, 4)))
    found, bounds, loss = fit.search([limits(4, 7)], np.geomspace(1, 4, 9), False)
    (whole,) = fit.fixed_factors(found)
    assert (np.abs(whole) >= 1).all()
    assert (np.sign(whole) == np.sign(factor)).all()
    assert np.isfinite(loss).all()
    assert np.allclose(whole / found, factor)
    fit.round(found, bounds, compensate=True)
    assert fit.scale(found) is found


def test_integers_are_divided_by_what_divides_them_all() -> None:
    fitted = layer()
    fitted.integers = np.array([[2.0, 4, -6, 0, 0, 0]] * 2 + [[0.0] * 6, [3, 1, 0, 0, 0, 0]])
    fit = SumFit([fitted], [], np.zeros((300, 4)))
    assert fit.reduced(np.full(4, 2.0)).tolist() == [1, 1, 2, 2]
    assert fitted.integers[0].tolist() == [1, 2, -3, 0, 0, 0]
