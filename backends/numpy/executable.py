"""Circuits that run in the clear."""

from __future__ import annotations

from collections.abc import Mapping

from lutra.backends.numpy.noise import Noisy
from lutra.ir.analysis import pbs_count
from lutra.ir.interpreter import Interpreter
from lutra.ir.ops import Assume, Round
from lutra.ir.types import Array


class NumpyExecutable:
    """A circuit that runs in the clear."""

    def __init__(self, interpreter: Interpreter) -> None:
        self._interpreter = interpreter

    def run(self, *inputs: Array) -> tuple[Array, ...]:
        """Integers (samples, *shape) for each input of the circuit; so the results."""
        return self._interpreter.run(inputs)

    @property
    def violations(self) -> Mapping[Assume, int]:
        """How many values each `assume` has seen outside its range so far."""
        return dict(self._interpreter.violations)

    @property
    def statistics(self) -> Mapping[str, float]:
        """Facts of the circuit and of the runs so far.

        bootstraps: of one sample, those of exact rounding included.
        p_error: of one look-up.
        violations: values seen outside the range that an `assume` claims.
        errors: look-ups that read another entry than their input's.
        """
        found = self._interpreter
        exact = (op for op in found.graph.of(Round) if op.exact)
        dropped = sum(op.lsbs * op.x.int_type.size for op in exact)
        return {
            "bootstraps": pbs_count(found.graph) + dropped,
            "p_error": found.p_error if isinstance(found, Noisy) else 0.0,
            "violations": sum(found.violations.values()),
            "errors": found.errors if isinstance(found, Noisy) else 0,
        }
