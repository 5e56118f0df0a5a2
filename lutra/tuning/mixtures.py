"""More samples like those that are given, where these are few."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lutra.ir.core import Module
from lutra.ir.program import Program
from lutra.ir.types import Array
from lutra.passes.mixtures import draw, mixed

ENOUGH = 2000
"""Samples that are enough to tell a loss of half a per cent from none."""
TEMPERATURES = 2.0 ** np.arange(-4, 5.25, 0.25)


def with_mixtures(
    module: Module, inputs: Mapping[str, Array], labels: Array, seed: int
) -> tuple[dict[str, Array], Array]:
    """Inputs, followed by mixtures of two inputs each, `ENOUGH` in all, and credits for classes.

    A mixture lies near a sample, but not on it: a model is less sure there than on its own training
    data, as it is of data to come.

    Credits are [samples, classes]: 1 for the label of a given sample. Of a mixture the model's own
    class has 1, and another as much less as the model holds it for less probable: that is the
    accuracy one may expect to lose by another answer. Probabilities are softened by the temperature
    that fits the two labels of mixtures best (Guo et al., "On Calibration of Modern Neural
    Networks", ICML 2017).
    """
    labels = labels.reshape(-1).astype(np.int64)
    count, missing = len(labels), ENOUGH - len(labels)
    rng = np.random.default_rng(seed)
    first, second, share = draw(max(0, missing), count, rng)
    more = {name: mixed(array, first, second, share) for name, array in inputs.items()}
    if missing <= 0 or not count:
        return dict(inputs), labels
    (outputs, *_) = Program(module.clone()).run(more)
    logits = _logits(outputs)
    classes = logits.shape[1]
    if labels.min() < 0 or labels.max() >= classes:
        return dict(inputs), labels
    one_hot = np.eye(classes)
    wanted = (1 - share)[:, None] * one_hot[labels[first]] + share[:, None] * one_hot[
        labels[second]
    ]
    belief = _belief(logits, wanted)
    credits = 1 - belief.max(1, keepdims=True) + belief
    together = {name: np.concatenate([inputs[name], more[name]]) for name in inputs}
    return together, np.concatenate([one_hot[labels], credits])


def _logits(outputs: Array) -> Array:
    """Outputs (samples, ...) as logits [samples, classes]; one output tells of class 1."""
    flat = outputs.reshape(len(outputs), -1).astype(np.float64)
    single = flat.shape[1] == 1
    total = np.ones(1) if single else flat.sum(1)
    within = flat.min() >= 0 and flat.max() <= 1
    probable = bool(within and np.allclose(total, 1, atol=1e-3))
    tiny = 1e-9
    if single:
        if not probable:
            return np.concatenate([0.5 - flat, flat - 0.5], 1)
        return np.asarray(np.log(np.clip(np.concatenate([1 - flat, flat], 1), tiny, 1)))
    return np.log(np.maximum(flat, tiny)) if probable else flat


def _belief(logits: Array, wanted: Array) -> Array:
    """Probabilities [samples, classes] at the temperature that fits what is wanted best."""
    found = [_softmax(logits / t) for t in TEMPERATURES]
    losses = [-float((wanted * np.log(np.maximum(p, 1e-12))).sum(1).mean()) for p in found]
    return np.asarray(found[int(np.argmin(losses))])


def _softmax(logits: Array) -> Array:
    raised = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(raised / raised.sum(1, keepdims=True))
