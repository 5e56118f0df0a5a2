"""The client: holds the keys, encrypts what the server computes with, and decrypts results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lutra.artifact import Artifact
from lutra.ir.errors import ArtifactError, KeysError, ServingError
from lutra.ir.interpreter import Interpreter
from lutra.ir.program import decoded
from lutra.ir.types import Array
from lutra.keyfile import read_keys, write_keys
from lutra.message import Header, Message, pack_keys, pack_samples
from lutra.signature import Form, Signature


class Client:
    """Encrypts inputs of a model and decrypts its results.

    artifact: a model that `Model.save` wrote, the client's part of it, or the bytes of either.

    Errors: A001 to A004 where it cannot be read, I005 where its backend does not encrypt.
    """

    def __init__(self, artifact: str | Path | bytes) -> None:
        found = Artifact.read(artifact)
        backend = found.backend()
        deployed = found.deployed()
        self.model = found.digest
        self._parameters = _digest(*(deployed.get(name, b"") for name in backend.CLIENT_PARTS))
        self._circuit: Any = backend.client(deployed)
        steps = found.steps()
        self._encode, self._decode = Interpreter(steps.encode), Interpreter(steps.decode)
        self.signature = Signature.between(steps.encode, steps.decode)
        encoded = [(value.shape, value.clear) for value in steps.encode.outputs]
        if encoded != [(port.shape, port.clear) for port in self._circuit.inputs]:
            raise ArtifactError("A002", f"{found.source}: its parts do not fit together")
        self._evaluation_keys: tuple[str, bytes] | None = None

    # --- keys -----------------------------------------------------------------------------------
    def keygen(self, *, force: bool = False, cache: Path | None = None) -> None:
        """Generate keys unless there are some, or in any case with `force`.

        cache: a folder in which key sets are kept, unencrypted. For tests and experiments only.
        """
        if force:
            self._evaluation_keys = None
        self._circuit.keygen(cache=cache, force=force)

    def save_keys(self, path: str | Path, passphrase: str | None = None) -> None:
        """Write all keys to a file that only its owner can read; generated first if need be.

        passphrase: seals the file; without, whoever reads it can decrypt.

        Errors: I004 where it cannot be written; I008 without `cryptography`.
        """
        header = json.dumps({"parameters": self._parameters}).encode() + b"\n"
        write_keys(path, header + self._circuit.keys_to_bytes(), passphrase)

    def load_keys(self, path: str | Path, passphrase: str | None = None) -> None:
        """Take the keys that `save_keys` wrote, for this model or one of the same parameters.

        Errors: K001 and K002 where the file does not open, K003 where its keys are others.
        """
        header, _, keys = read_keys(path, passphrase).partition(b"\n")
        try:
            parameters = json.loads(header)["parameters"]
        except (ValueError, TypeError, KeyError) as error:
            raise KeysError("K001", f"{path} holds no keys of a client") from error
        if parameters != self._parameters:
            raise KeysError("K003", f"the keys in {path} were made for other parameters")
        try:
            self._circuit.take_keys(keys)
        except RuntimeError as error:
            raise KeysError("K001", f"the keys in {path} cannot be read: {error}") from error
        self._evaluation_keys = None

    @property
    def evaluation_keys(self) -> bytes:
        """What the server needs to compute, as a message; it decrypts nothing."""
        name, keys = self._evaluation()
        return pack_keys(Header("keys", self.model, name), keys)

    @property
    def keys(self) -> str:
        """The name of the keys: a digest of the evaluation keys."""
        return self._evaluation()[0]

    def _evaluation(self) -> tuple[str, bytes]:
        if self._evaluation_keys is None:
            data = self._circuit.evaluation_keys.to_bytes()
            self._evaluation_keys = _digest(data), data
        return self._evaluation_keys

    # --- data -----------------------------------------------------------------------------------
    def encode(self, x: Any) -> tuple[Array, ...]:
        """What gets encrypted, unless it is clear: integers for each input of the circuit.

        Of shape (samples, *shape).

        x: as of `Model.predict`. Errors I001 to I004 where it does not fit.
        """
        return self._encode.run(self.signature.arrange(x).arrays)

    def encrypt(self, x: Any) -> bytes:
        """The samples of x, encoded and encrypted, as a message for the server.

        Of inputs that are clear (see `signature`) it holds plain integers.

        x: as of `Model.predict`. Errors I001 to I004 where it does not fit.
        """
        q = self.encode(x)
        samples = len(q[0]) if q else 1
        encrypted = [
            self._circuit.encrypt(*(array[i] for array in q)).to_bytes() for i in range(samples)
        ]
        return pack_samples(Header("inputs", self.model, self.keys, samples), encrypted)

    def decrypt_integers(self, results: bytes) -> tuple[Array, ...]:
        """What the circuit gave: integers (samples, *shape) for each of its outputs.

        results: the server's message. Errors: S001 where it is none, S002 where it is for another
        model or under other keys.
        """
        message = Message(results)
        message.header.check("results", self.model, self.keys)
        ports = self._circuit.outputs
        decrypted = [self._decrypted(parts) for parts in message.samples(len(ports))]
        return tuple(
            np.array([sample[i] for sample in decrypted], np.int64).reshape(-1, *port.shape)
            for i, port in enumerate(ports)
        )

    def _decrypted(self, parts: Sequence[bytes]) -> Any:
        try:
            return self._circuit.decrypt(self._circuit.received(parts))
        except RuntimeError as error:
            raise ServingError("S001", f"the results cannot be read: {error}") from error

    def decode(self, results: Sequence[Array], x: Any = None) -> Array | tuple[Array, ...]:
        """The model's outputs for integers that `decrypt_integers` gave; see `decrypt`."""
        batch = None if x is None else self.signature.arrange(x)
        names = [port.name for port in self._circuit.outputs]
        outputs = decoded(self._decode, names, results, {} if batch is None else batch.arrays)
        batched = any(port.shape[:1] == (1,) for port in self.signature.inputs)
        form = batch.form if batch else Form.BATCH if batched else Form.SAMPLES
        released = self.signature.release(outputs, form)
        return released[0] if len(released) == 1 else tuple(released)

    def decrypt(self, results: bytes, x: Any = None) -> Array | tuple[Array, ...]:
        """The model's outputs, decrypted and decoded; a tuple where it has several.

        results: the server's message.
        x: the inputs, which the few models need that read them here again; outputs then come in
            the form that the inputs had, and otherwise with all samples on their first axis.

        Errors: S001 and S002 as of `decrypt_integers`, I004 where inputs are needed.
        """
        return self.decode(self.decrypt_integers(results), x)


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()
