"""More inputs like those that are given, where these are few."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lutra.ir.types import Array

SHARE = 0.5
"""The most that a mixture has of its second sample: beyond, it would be one of the second."""


def mixed(array: Array, first: Array, second: Array, share: Array) -> Array:
    """Mixtures (1 - share) a + share b of samples a and b, named by their numbers.

    Near a, but not on it (Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018).
    What is no float is taken from a alone.
    """
    if array.dtype.kind != "f":
        return np.asarray(array[first])
    s = share.reshape(-1, *[1] * (array.ndim - 1))
    return np.asarray((1 - s) * array[first] + s * array[second]).astype(array.dtype)


def draw(count: int, given: int, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """What so many mixtures of given samples are made of: first and second ones, and shares."""
    first, second = rng.integers(0, max(1, given), (2, count))
    return first, second, rng.uniform(0, SHARE, count)


def enough(inputs: Mapping[str, Array], least: int, most: int, seed: int = 0) -> dict[str, Array]:
    """The first of some samples, `most` at most, and mixtures of them where they are too few."""
    given = min((len(array) for array in inputs.values()), default=0)
    parts = draw(max(0, least - given), given, np.random.default_rng(seed))
    return {
        name: np.concatenate([array[:most], mixed(array, *parts)]) for name, array in inputs.items()
    }
