"""The server: computes on encrypted data with a client's evaluation keys. It holds no secret."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lutra.artifact import Artifact
from lutra.ir.errors import ServingError
from lutra.message import Header, Message, pack_samples


@dataclass(frozen=True)
class EvaluationKeys:
    """A client's evaluation keys, ready for use."""

    name: str
    native: Any


class Server:
    """Runs a model's circuit on what its clients encrypt.

    artifact: a model that `Model.save` wrote, or its bytes. The circuit is compiled at once.

    Errors: A001 to A004 where it cannot be read, I005 where its backend does not encrypt.

    Native code parses what clients send and may end the process over damaged messages: where
    clients are not trusted, run this in a process of its own, as `lutra serve` does.
    """

    def __init__(self, artifact: str | Path | bytes) -> None:
        found = Artifact.read(artifact)
        self.model = found.digest
        self.client_part = found.client_part()
        self._circuit: Any = found.backend().server(found.deployed())

    def accept(self, keys: bytes | Path) -> EvaluationKeys:
        """Unpack a client's evaluation keys, for use with many requests.

        keys: `Client.evaluation_keys`, or a file with them. Errors S001, S002.
        """
        message = Message(keys)
        message.header.check("keys", self.model)
        try:
            native = self._circuit.keys(message.keys())
        except (RuntimeError, ValueError) as error:
            raise _refused("keys", error) from error
        return EvaluationKeys(message.header.keys, native)

    def run(
        self,
        inputs: bytes | Path,
        keys: bytes | Path | EvaluationKeys,
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> bytes:
        """The encrypted results of all samples of a message, as a message.

        inputs: what `Client.encrypt` gives, or a file with it.
        progress: called with the number of samples done and of all samples.

        Errors: S001 where a message is none, S002 where it is for another model or other keys.
        """
        accepted = keys if isinstance(keys, EvaluationKeys) else self.accept(keys)
        message = Message(inputs)
        message.header.check("inputs", self.model, accepted.name)
        samples = message.samples(self._circuit.inputs)
        results = []
        for done, parts in enumerate(samples):
            if progress is not None:
                progress(done, len(samples))
            try:
                sample = self._circuit.received(parts)
                results.append(self._circuit.run(sample, accepted.native).to_bytes())
            except (RuntimeError, ValueError) as error:
                raise _refused("inputs", error) from error
        if progress is not None:
            progress(len(samples), len(samples))
        header = Header("results", self.model, accepted.name, len(samples))
        return pack_samples(header, results)


def _refused(what: str, error: Exception) -> ServingError:
    reason = str(error).split("\n", 1)[0][:200]
    return ServingError("S001", f"the {what} cannot be computed with: {reason}")
