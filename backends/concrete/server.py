"""The server's side: a circuit on ciphertexts. Holds no secret."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from lutra.backends.concrete.emission import FUNCTION
from lutra.backends.concrete.native import Compiled
from lutra.backends.concrete.signals import signals_kept
from lutra.backends.concrete.transport import Ciphertexts, EvaluationKeys


class Server:
    """Runs one circuit of `inputs` inputs; its code is loaded on first use."""

    def __init__(self, compiled: Compiled, inputs: int) -> None:
        self.inputs = inputs
        self._compiled = compiled
        self._circuit: Any = None
        self._lock = threading.Lock()

    def keys(self, data: bytes) -> EvaluationKeys:
        """Evaluation keys from what they are serialized to. RuntimeError where they are none."""
        return EvaluationKeys.from_bytes(data)

    def received(self, parts: Sequence[bytes]) -> Ciphertexts:
        """Ciphertexts from what they are serialized to. RuntimeError where they are none."""
        return Ciphertexts.from_bytes(parts)

    def run(self, sample: Ciphertexts, keys: EvaluationKeys) -> Ciphertexts:
        """The encrypted outputs of one sample.

        One at a time: a native circuit that runs in two threads mixes up their samples.
        """
        with self._lock, signals_kept():
            if self._circuit is None:
                self._circuit = self._compiled.server_circuit(FUNCTION)
            return Ciphertexts(tuple(self._circuit.call(list(sample.values), keys.native)))
