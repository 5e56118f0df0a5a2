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


def changed(scores: Array, reference: Array, given: Array) -> float:
    """Share of the given samples whose score is another, better or worse."""
    return float(np.abs(np.subtract(scores, reference))[given].mean()) if given.any() else 0.0
