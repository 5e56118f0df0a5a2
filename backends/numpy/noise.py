"""The noise of bootstraps, in the clear.

A programmable bootstrap reads its input with Gaussian noise. The probability that the noise moves
it past half the distance between two neighbouring inputs is the circuit's `p_error`. So

- a look-up behind approximate rounding, where the bootstrap itself rounds, reads the wide integer
  with noise of that strength: near the middle between two short integers either may come out.
  So it errs at any `p_error`: on inputs spread evenly by 0.8 standard deviations of the noise;
- any other look-up, max or product reads a neighbour of its input with probability `p_error`;
- exact rounding finds each dropped bit with a bootstrap that fails at that rate.

Noise is drawn as strong as `p_error` allows. Parameters found for a circuit leave some look-ups
less: real errors are as frequent or rarer (`python -m benchmarks.noise`).

Approximate rounding leaves the shortened integer to the bootstrap: see Concrete's documentation on
rounding, and Chillotti et al., "TFHE: Fast Fully Homomorphic Encryption over the Torus",
J. Cryptology 2020, for the bootstrap.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from lutra.ir.core import Graph, Op
from lutra.ir.interpreter import Interpreter
from lutra.ir.ops import Lookup, Max, Mul, Round
from lutra.ir.types import Array, Ints, Shape


def sigma(p_error: float) -> float:
    """Standard deviation, in steps, of the noise that leaves half a step with that probability."""
    return 0.5 / NormalDist().inv_cdf(1 - p_error / 2)


class Noisy(Interpreter):
    """The reference meaning with the errors of bootstraps."""

    def __init__(self, graph: Graph, p_error: float, rng: np.random.Generator) -> None:
        super().__init__(graph)
        self.errors = 0
        self.p_error = p_error
        self._sigma = sigma(p_error)
        self._rng = rng

    def compute(self, op: Op, operands: Sequence[Array]) -> Array | tuple[Array, ...]:
        if isinstance(op, Round) and not op.exact:
            return self._round(operands[0], op.lsbs)
        if isinstance(op, Round):
            rounded = np.asarray(op.eval(operands[0]))
            return rounded + self._slips(rounded.shape, 1 - (1 - self.p_error) ** op.lsbs)
        if isinstance(op, Lookup) and not _rounds(op.x.owner):
            return op.eval(operands[0] + self._slips(operands[0].shape))
        if isinstance(op, Max):  # y + relu(x - y)
            x, y = np.broadcast_arrays(*operands)
            return np.asarray(y + np.maximum(x - y + self._slips(x.shape), 0))
        if isinstance(op, Mul) and op.squared():  # ((x + y)^2 - (x - y)^2) / 4
            x, y = np.broadcast_arrays(*operands)
            if op.x is op.y:
                return np.asarray(np.square(x + self._slips(x.shape)))
            plus, minus = (z + self._slips(z.shape) for z in (x + y, x - y))
            return np.asarray(plus**2 // 4 - minus**2 // 4)
        return super().compute(op, operands)

    def _round(self, x: Ints, lsbs: int) -> Ints:
        """Round as `Round` does, but x is off by some noise.

        Boundaries lie half a unit below the middle, as backend `concrete` has them: the integers
        on both sides err alike.
        """
        raised = x + (1 << (lsbs - 1))
        part = ((raised & ((1 << lsbs) - 1)) + 0.5) / (1 << lsbs)  # where in its cell, 0 to 1
        moved = np.floor(part + self._rng.normal(0, self._sigma, x.shape)).astype(np.int64)
        self.errors += int(np.count_nonzero(moved))
        return (raised >> lsbs) + moved

    def _slips(self, shape: Shape, p_error: float | None = None) -> Ints:
        """-1 or 1 with the probability of an error, else 0."""
        slipped = self._rng.random(shape) < (self.p_error if p_error is None else p_error)
        self.errors += int(np.count_nonzero(slipped))
        return np.where(slipped, self._rng.integers(0, 2, shape) * 2 - 1, 0)


def _rounds(op: Op) -> bool:
    return isinstance(op, Round) and not op.exact
