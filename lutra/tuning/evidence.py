"""What a sample of scores says about the loss that is to be expected."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from lutra.ir.types import Array


def loss(scores: Array, reference: Array) -> float:
    """Mean of reference - scores, both [samples]."""
    return float(np.mean(np.subtract(reference, scores)))


def worst_loss(scores: Array, reference: Array, confidence: float) -> float:
    """Upper bound of the loss that is to be expected of other samples.

    One-sided normal interval for paired differences, of which one more than was seen is taken to
    differ by 1 either way: so a sample without any difference still tells only what its size can
    (Agresti, Min, "Simple improved confidence intervals for comparing matched proportions",
    Statistics in Medicine 2005).
    """
    lost = np.subtract(reference, scores)
    count = len(lost)
    mean = float(lost.mean())
    variance = (float(np.square(lost - mean).sum()) + 1.0) / count
    return mean + NormalDist().inv_cdf(confidence) * math.sqrt(variance / count)


def expected_changes(outputs: Array, reference: Array, given: Array) -> float:
    """Share of the given samples whose class is likely to be another in outputs than in reference.

    Both are [samples, classes], or [samples, 1] of which more than one half names class 1. The
    error of the margin between the two best classes is taken for normal, as large as it is on all
    samples, given or made: so margins on given samples tell how many lie near a boundary, where
    too few of them happen to cross it.
    """
    best = np.argsort(reference, 1)[:, -2:]
    if reference.shape[1] > 1:
        margin, found = (np.diff(np.take_along_axis(y, best, 1)) for y in (reference, outputs))
    else:
        margin, found = np.abs(reference - 0.5), np.sign(reference - 0.5) * (outputs - 0.5)
    error = math.sqrt(float(np.square(found - margin).mean()))
    if not given.any() or not error:
        return 0.0
    return float(np.mean([NormalDist().cdf(-m / error) for m in margin[given].ravel()]))
