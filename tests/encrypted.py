"""Circuits under encryption, held against the interpreter."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lutra.backends.concrete import ConcreteExecutable, emit
from lutra.ir.interpreter import evaluate
from lutra.ir.parser import parse_graph
from lutra.ir.types import Array


class Encrypted:
    """Compiles the texts of circuits and runs them. Circuits of equal parameters share keys."""

    def __init__(self, keys: Path) -> None:
        self.keys = keys

    def compile(self, text: str, **options: object) -> ConcreteExecutable:
        """With keys; by default one compilation, and look-ups that do not fail in a lifetime."""
        executable = emit(
            parse_graph(text), **{"strategy": "precision", "p_error": 1e-7, **options}
        )
        executable.keygen(cache=self.keys)
        return executable

    def check(
        self, text: str, *inputs: Array | Sequence[object], samples: int = 2
    ) -> ConcreteExecutable:
        """Run on given or random inputs; the results must be the interpreter's."""
        executable = self.compile(text)
        arrays = [np.asarray(x) for x in inputs] or random_inputs(executable, samples)
        for result, expected in zip(
            executable.run(*arrays), evaluate(parse_graph(text), arrays), strict=True
        ):
            assert result.dtype == np.int64
            np.testing.assert_array_equal(result, expected)
        return executable


def random_inputs(executable: ConcreteExecutable, samples: int) -> list[Array]:
    """Uniform integers of the inputs' ranges; both ends occur."""
    random = np.random.default_rng(0)
    arrays = []
    for port in executable.program.inputs:
        array = random.integers(port.lo, port.hi + 1, (samples, *port.shape))
        array.reshape(-1)[: min(2, array.size)] = [port.lo, port.hi][: array.size]
        arrays.append(array)
    return arrays
