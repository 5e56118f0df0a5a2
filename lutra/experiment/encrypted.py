"""Really encrypted runs, timed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from lutra.backends import registry
from lutra.ir.core import Module
from lutra.ir.errors import ExperimentError
from lutra.ir.program import Program, wrapped
from lutra.ir.types import Array


@dataclass(frozen=True)
class Encrypted:
    """What encrypted samples gave.

    outputs: of the model (samples, *shape).
    emission, keygen: seconds of wall time. seconds: those of each sample, with encryption and
        decryption; the first one's include the unpacking of the keys.
    """

    outputs: tuple[Array, ...]
    emission: float
    keygen: float
    seconds: tuple[float, ...]


def run_encrypted(
    module: Module,
    inputs: Mapping[str, Array],
    backend: str,
    program: Program,
    options: Mapping[str, Any],
) -> Encrypted:
    """Emit a module's circuit with these options, generate keys, and run the samples.

    inputs: (samples, *shape) by name. program: of the module. Errors: B..., I005; X003 if the
    backend does not encrypt.
    """
    moments = [perf_counter()]
    executable: Any = registry.find(backend).emit(module.circuit, **options)
    if not hasattr(executable, "keygen"):
        raise ExperimentError("X003", f"backend `{backend}` does not encrypt")
    moments.append(perf_counter())
    executable.keygen()
    moments.append(perf_counter())
    types = [value.int_type for value in module.circuit.outputs]

    def circuit(arrays: Sequence[Array]) -> list[Array]:
        run = partial(executable.run, progress=lambda done, total: moments.append(perf_counter()))
        return [wrapped(t, found) for t, found in zip(types, run(*arrays), strict=True)]

    outputs = program.run(inputs, circuit)
    emission, keygen, *seconds = np.diff(moments).tolist()
    return Encrypted(outputs, emission, keygen, tuple(seconds))
