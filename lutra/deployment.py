"""`lutra.Client` and `lutra.Server` under the names that users of Concrete ML know.

server.zip      the model, as `Model.save` writes it: the server compiles it when it starts
client.zip      the client's part of it: no weights of the circuit, no code
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lutra.archive import write_atomically
from lutra.artifact import Artifact
from lutra.client import Client
from lutra.ir.errors import InputError
from lutra.ir.types import Array
from lutra.model import Model
from lutra.quantization.notices import no_effect
from lutra.server import Server

CLIENT, SERVER = "client.zip", "server.zip"


class FHEModelDev:
    """Writes what client and server need.

    path_dir: a folder, made if it does not exist.
    model: a compiled `QuantizedModule`, or a `lutra.Model`.
    """

    def __init__(self, path_dir: str | Path, model: Any = None) -> None:
        self.path_dir = Path(path_dir)
        self.model = model
        self.path_dir.mkdir(parents=True, exist_ok=True)

    def save(self, mode: str = "inference", via_mlir: bool = True) -> None:
        """Write client.zip and server.zip into the folder, which must be empty.

        via_mlir: has no effect: the server always compiles, so its machine may be of another kind.

        Errors: I005 for another mode, a folder that is not empty, a model that does not encrypt.
        """
        if str(getattr(mode, "value", mode)).lower() != "inference":
            raise InputError("I005", f"mode={mode!r}", help="there is: 'inference'")
        if not via_mlir:
            no_effect("via_mlir=False", "no machine code is saved, the server compiles")
        if any(self.path_dir.iterdir()):
            raise InputError("I005", f"{self.path_dir} is not empty", help="take another folder")
        model = _compiled(self.model)
        model.save(self.path_dir / SERVER)
        part = Artifact.read(self.path_dir / SERVER).client_part()
        write_atomically(self.path_dir / CLIENT, part)


class FHEModelServer:
    """Computes on encrypted data; `server` is the `lutra.Server`.

    path_dir: the folder with server.zip. Errors: A001 to A004 where it cannot be read, B...
    """

    def __init__(self, path_dir: str | Path) -> None:
        self.path_dir = Path(path_dir)
        self.load()

    def load(self) -> None:
        """Read and compile the circuit."""
        self.server = Server(self.path_dir / SERVER)

    def run(
        self, serialized_encrypted_quantized_data: bytes, serialized_evaluation_keys: bytes
    ) -> bytes:
        """The encrypted results. Errors S001, S002."""
        return self.server.run(serialized_encrypted_quantized_data, serialized_evaluation_keys)


class FHEModelClient:
    """Holds the secret keys: quantizes, encrypts, decrypts, dequantizes; one sample at a time.

    `client` is the `lutra.Client`, which takes many samples, and seals keys with a passphrase.

    path_dir: the folder with client.zip.
    key_dir: a folder in which key sets are kept, unencrypted, and found again.

    Errors: A001 to A004 where client.zip cannot be read or is of other versions.
    """

    def __init__(self, path_dir: str | Path, key_dir: str | Path | None = None) -> None:
        self.path_dir = Path(path_dir)
        self.key_dir = None if key_dir is None else Path(key_dir)
        self.load()

    def load(self) -> None:
        """Read the client's part of the model."""
        self.client = Client(self.path_dir / CLIENT)

    def generate_private_and_evaluation_keys(self, force: bool = False) -> None:
        """Generate the keys, unless there are some; with `force` in any case."""
        self.client.keygen(cache=self.key_dir, force=force)

    def get_serialized_evaluation_keys(self) -> bytes:
        """The keys that the server needs; they decrypt nothing."""
        self.generate_private_and_evaluation_keys()
        return self.client.evaluation_keys

    def quantize_encrypt_serialize(self, *x: Array) -> bytes:
        """One sample, quantized and encrypted.

        x: an array (1, ...) for each input of the model. Errors I001 to I004.
        """
        names = [port.name for port in self.client.signature.inputs]
        if len(x) != len(names):
            raise InputError("I004", f"{len(x)} inputs are given, not {len(names)}")
        named = dict(zip(names, x, strict=True))
        samples = self.client.signature.arrange(named).samples
        if samples != 1:
            raise InputError("I001", f"{samples} samples are given, not one")
        self.generate_private_and_evaluation_keys()
        return self.client.encrypt(named)

    def deserialize_decrypt(self, serialized_encrypted_quantized_result: bytes) -> Any:
        """The circuit's integer results, from what the server gives. Errors S001, S002."""
        results = self.client.decrypt_integers(serialized_encrypted_quantized_result)
        return _alone([array[0] for array in results])

    def deserialize_decrypt_dequantize(self, serialized_encrypted_quantized_result: bytes) -> Any:
        """The model's outputs for one sample, from what the server gives.

        Errors: S001, S002; I004 for the few models that need their inputs again.
        """
        outputs = self.client.decrypt(serialized_encrypted_quantized_result)
        arrays = outputs if isinstance(outputs, tuple) else (outputs,)
        ports = self.client.signature.outputs
        return _alone([np.reshape(a, p.shape) for a, p in zip(arrays, ports, strict=True)])


def _compiled(model: Any) -> Model:
    """The model to save, compiled."""
    if isinstance(model, Model):
        found = model
    elif model is None or not hasattr(model, "check_model_is_compiled"):
        raise InputError("I005", f"model is a {type(model).__name__}, no quantized module")
    else:
        model.check_model_is_compiled()
        found = model.model
    if not hasattr(found.executable, "client"):
        raise InputError("I005", f"backend `{found.backend}` does not encrypt")
    return found


def _alone(parts: Sequence[Any]) -> Any:
    return parts[0] if len(parts) == 1 else tuple(parts)
