"""The client's side: keys, encryption, decryption. Needs no compiled code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lutra.backends.concrete.emission import FUNCTION, Port
from lutra.backends.concrete.library import concrete_compiler
from lutra.backends.concrete.transport import Ciphertexts, EvaluationKeys
from lutra.ir.errors import InputError
from lutra.ir.types import Array


class Client:
    """Holds the secret keys of one circuit."""

    def __init__(self, inputs: Sequence[Port], outputs: Sequence[Port], info: Any) -> None:
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self._info = info
        self._keys: Any = None
        self._evaluation_keys: EvaluationKeys | None = None
        self._circuit: Any = None

    @classmethod
    def of(cls, inputs: Sequence[Port], outputs: Sequence[Port], parameters: bytes) -> Client:
        """The client of a circuit with such inputs, outputs and `parameters`.

        ValueError where these encrypt other inputs: none may be sent as it is unawares.
        """
        info = concrete_compiler().ProgramInfo.deserialize(parameters)
        gates = json.loads(info.serialize())["circuits"][0]["inputs"]
        if ["plaintext" in gate["typeInfo"] for gate in gates] != [port.clear for port in inputs]:
            raise ValueError("it encrypts other inputs than the circuit's description says")
        return cls(inputs, outputs, info)

    @property
    def parameters(self) -> bytes:
        """The cryptographic parameters, as Concrete writes them. They are no secret."""
        data: bytes = self._info.serialize()
        return data

    def keygen(
        self, *, seed: int | None = None, cache: Path | None = None, force: bool = False
    ) -> None:
        """Generate keys from the operating system's randomness, unless there are some.

        force: replace those that there are.
        seed: derive the secret keys from this number instead, 1 to 2^128 - 1.
        cache: a folder in which key sets are kept, unencrypted, and found again by circuits of
            the same parameters. Like seeds, for tests and experiments only.
        """
        native = concrete_compiler()

        if self._circuit is None or force:
            folder = None if cache is None else native.KeysetCache(str(cache))
            if seed is not None and not 0 < seed < 2**128:
                raise InputError("I005", f"seed={seed} is not within 1 to 2^128 - 1")
            high, low = divmod(seed or 0, 2**64)  # 0 stands for a random seed
            self._take(native.Keyset(self._info, folder, high, low, 0, 0, None))

    def _take(self, keys: Any) -> None:
        program = concrete_compiler().ClientProgram.create_encrypted(self._info, keys)
        self._circuit = program.get_client_circuit(FUNCTION)
        self._evaluation_keys = EvaluationKeys(keys.get_server_keys())
        self._keys = keys

    def keys_to_bytes(self) -> bytes:
        """All keys, the secret ones in the clear; generated first if there are none."""
        self.keygen()
        data: bytes = self._keys.serialize()
        return data

    def take_keys(self, data: bytes) -> None:
        """Go on with the keys that `keys_to_bytes` of a client of the same parameters gave.

        data: from where nobody else can write: what is no keys may end the process.
        """
        self._take(concrete_compiler().Keyset.deserialize(data))

    @property
    def evaluation_keys(self) -> EvaluationKeys:
        """The keys for the server; generated first if there are none."""
        self.keygen()
        assert self._evaluation_keys is not None
        return self._evaluation_keys

    def encrypt(self, *sample: Array) -> Ciphertexts:
        """Encrypt one sample: integers of the inputs' shapes. Errors I001, I002.

        Inputs that are clear go along as plain integers.
        """
        self.keygen()
        wrap = concrete_compiler().Value
        values = []
        for index, (array, port) in enumerate(zip(sample, self.inputs, strict=True)):
            checked = _checked(np.asarray(array), port).reshape(port.shape or (1,))
            values.append(self._circuit.prepare_input(wrap(checked), index))
        return Ciphertexts(tuple(values))

    def received(self, parts: Sequence[bytes]) -> Ciphertexts:
        """Ciphertexts from what they are serialized to. RuntimeError where they are none."""
        return Ciphertexts.from_bytes(parts)

    def decrypt(self, results: Ciphertexts) -> tuple[Array, ...]:
        """Decrypt one sample's outputs, to integers of the outputs' shapes."""
        decrypted = (
            self._circuit.process_output(value, index).to_py_val()
            for index, value in enumerate(results.values)
        )
        return tuple(
            decode(np.asarray(array), port)
            for array, port in zip(decrypted, self.outputs, strict=True)
        )


def decode(residues: Array, port: Port) -> Array:
    """The integers nearest to the middle of a port's range that have these residues."""
    modulus = 2 << port.bits
    first = (port.lo + port.hi + 1) // 2 - modulus // 2
    return (residues.astype(np.int64).reshape(port.shape) - first) % modulus + first


def _checked(array: Array, port: Port) -> Array:
    if array.shape != port.shape:
        raise InputError(
            "I001", f"input {port.name!r} has shape {array.shape} for one sample, not {port.shape}"
        )
    if not np.issubdtype(array.dtype, np.integer):
        raise InputError("I002", f"input {port.name!r} holds {array.dtype}, not integers")
    if array.min() < port.lo or array.max() > port.hi:
        raise InputError(
            "I002",
            f"input {port.name!r} reaches [{array.min()}, {array.max()}], "
            f"outside of [{port.lo}, {port.hi}]",
        )
    return np.array(array, dtype=np.int64, order="C")  # the native side ignores strides
