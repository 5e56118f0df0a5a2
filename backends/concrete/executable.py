"""Circuits ready to run under encryption: client, server, and both in one process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path

import numpy as np

from lutra.backends.concrete.client import Client
from lutra.backends.concrete.emission import Program
from lutra.backends.concrete.native import Compiled
from lutra.backends.concrete.options import Options
from lutra.backends.concrete.server import Server
from lutra.backends.concrete.specification import specification
from lutra.backends.concrete.spread import Parcel, evaluated
from lutra.backends.concrete.statistics import Statistics, statistics_of
from lutra.backends.concrete.transport import Ciphertexts, EvaluationKeys
from lutra.ir.errors import InputError
from lutra.ir.types import Array

Progress = Callable[[int, int], None]
"""Called with the number of samples done and of all samples."""


class ConcreteExecutable:
    """A compiled circuit with its client and its server.

    `client` holds the secret keys once they are generated; `run` generates them if need be.
    `specification` has what client and server need in processes of their own, in files by name.
    """

    def __init__(self, program: Program, compiled: Compiled, options: Options) -> None:
        self.program = program
        self.costs: Statistics = statistics_of(program, compiled)
        self.client = Client(program.inputs, program.outputs, compiled.info)
        self.server = Server(compiled, len(program.inputs))
        self.specification: Mapping[str, bytes] = specification(program, compiled, options)
        self._parcel: tuple[EvaluationKeys, Parcel] | None = None

    @property
    def statistics(self) -> Mapping[str, float]:
        """Numbers of `costs` by name."""
        return self.costs.flat()

    @property
    def text(self) -> str:
        """The program as Concrete's compiler read it."""
        return self.program.text

    def keygen(
        self, *, seed: int | None = None, cache: Path | None = None, force: bool = False
    ) -> None:
        """Generate the keys; see `Client.keygen`."""
        self.client.keygen(seed=seed, cache=cache, force=force)

    def run(
        self, *inputs: Array, progress: Progress | None = None, executor: Executor | None = None
    ) -> tuple[Array, ...]:
        """Encrypt, run and decrypt, sample by sample.

        inputs: integers (samples, *shape), one array for each input. Returns such arrays.
        executor: where samples are computed, here without. Its workers get ciphertexts and
            evaluation keys; encryption and decryption stay here.

        Errors I001, I002 and I004 where inputs do not fit, B006 where workers fail.
        """
        arrays = [np.asarray(array) for array in inputs]
        self._check_samples(arrays)
        samples = arrays[0].shape[0] if arrays else 1
        encrypted = (
            self.client.encrypt(*(array[index] for array in arrays)) for index in range(samples)
        )
        answers: Iterable[tuple[int, Ciphertexts]]
        if executor is None:
            answers = enumerate(map(self.run_encrypted, encrypted))
        else:
            answers = evaluated(self.parcel, encrypted, executor)
        results: list[tuple[Array, ...]] = [()] * samples
        for done, (index, answer) in enumerate(answers, 1):
            results[index] = self.client.decrypt(answer)
            if progress is not None:
                progress(done, samples)
        return tuple(
            np.array([result[i] for result in results], dtype=np.int64).reshape(-1, *port.shape)
            for i, port in enumerate(self.program.outputs)
        )

    @property
    def parcel(self) -> Parcel:
        """What workers get: the circuit and the evaluation keys, which are generated if need be."""
        keys = self.client.evaluation_keys
        if self._parcel is None or self._parcel[0] is not keys:
            self._parcel = (keys, Parcel(self.specification, keys.to_bytes()))
        return self._parcel[1]

    def run_encrypted(self, sample: Ciphertexts, keys: EvaluationKeys | None = None) -> Ciphertexts:
        """The server's part for one sample; `keys` are the client's own unless given."""
        return self.server.run(sample, keys or self.client.evaluation_keys)

    def _check_samples(self, arrays: Sequence[Array]) -> None:
        if len(arrays) != len(self.program.inputs):
            expected = ", ".join(port.name for port in self.program.inputs)
            raise InputError("I004", f"{len(arrays)} inputs given, there are: {expected}")
        counts = {array.shape[0] if array.ndim else None for array in arrays}
        if len(counts) > 1 or None in counts:
            raise InputError("I001", "inputs need the same number of samples on their first axis")
