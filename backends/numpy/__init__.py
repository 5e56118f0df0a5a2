"""Runs circuits in the clear on whole batches: bit-exactly, or with the errors of real look-ups."""

from __future__ import annotations

import numpy as np

from lutra.backends.base import Limits
from lutra.backends.numpy.executable import NumpyExecutable
from lutra.backends.numpy.noise import Noisy, sigma
from lutra.backends.numpy.plan import Plan
from lutra.ir.core import Graph
from lutra.ir.decompose import decomposed
from lutra.ir.errors import InputError

__all__ = ["NumpyExecutable", "emit", "limits", "name", "sigma"]

name = "numpy"
limits = Limits()


def emit(circuit: Graph, *, p_error: float = 0.0, seed: int | None = None) -> NumpyExecutable:
    """Make a circuit ready to run in the clear; it must not change from then on.

    p_error: probability that one look-up errs, 0 (bit-exact) or more, below 1.
    seed: of the errors. Runs of one executable go on in the same sequence of random numbers.
    """
    if not 0 <= p_error < 1:
        raise InputError("I005", f"p_error={p_error} is no probability below 1")
    if not p_error:
        return NumpyExecutable(Plan(circuit))
    return NumpyExecutable(Noisy(decomposed(circuit), p_error, np.random.default_rng(seed)))
