"""Client and server in processes of their own, under the names that users of Concrete ML know.

    server.zip      the model, as `Model.save` writes it: the server compiles it when it starts
    client.zip      the client's part: no weights of the circuit, no code
      manifest.json   format, versions, the circuit's inputs and outputs, digests
      module.txt      the text of the graphs `encode` and `decode`; large constants are `@name`s
      constants.npz   those constants
      keys.info       the cryptographic parameters, as Concrete writes them

Both sides need one version of Lutra and of concrete-python, which the client checks: parameters
are derived from the circuit anew. Loading trusts a file as little as `lutra.load` does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lutra
from lutra.archive import Archive, pack, pack_arrays, unpack_arrays, write_atomically
from lutra.artifact import ASIDE
from lutra.ir.core import Module
from lutra.ir.errors import ArtifactError, InputError
from lutra.ir.interpreter import Interpreter
from lutra.ir.parser import parse_module
from lutra.ir.text import text_of_module
from lutra.ir.types import Array
from lutra.ir.verifier import verify
from lutra.model import Model
from lutra.quantization.notices import no_effect
from lutra.signature import Port, Signature

CLIENT, SERVER = "client.zip", "server.zip"

PARTS = ("module.txt", "constants.npz", "keys.info")


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
        write_atomically(self.path_dir / CLIENT, _client_archive(model))
        model.save(self.path_dir / SERVER)


class FHEModelServer:
    """Computes on encrypted data.

    path_dir: the folder with server.zip. Errors: A001 to A003 where it cannot be read, B...
    """

    def __init__(self, path_dir: str | Path) -> None:
        self.path_dir = Path(path_dir)
        self.load()

    def load(self) -> None:
        """Read and compile the circuit."""
        self.server: Any = lutra.load(self.path_dir / SERVER).executable

    def run(
        self, serialized_encrypted_quantized_data: Any, serialized_evaluation_keys: bytes
    ) -> Any:
        """The encrypted results of one sample.

        Data are bytes, or a tuple of them for a circuit of several inputs, and so are results.
        """
        from lutra.backends.concrete import Ciphertexts, EvaluationKeys

        sample = Ciphertexts.from_bytes(_parts(serialized_encrypted_quantized_data))
        keys = EvaluationKeys.from_bytes(serialized_evaluation_keys)
        return _alone(self.server.run_encrypted(sample, keys).to_bytes())


class FHEModelClient:
    """Holds the secret keys: quantizes, encrypts, decrypts, dequantizes; one sample at a time.

    path_dir: the folder with client.zip.
    key_dir: a folder in which key sets are kept, unencrypted, and found again.

    Errors: A001 to A003 where client.zip cannot be read or is of other versions.
    """

    def __init__(self, path_dir: str | Path, key_dir: str | Path | None = None) -> None:
        self.path_dir = Path(path_dir)
        self.key_dir = None if key_dir is None else Path(key_dir)
        self.load()

    def load(self) -> None:
        """Read the client's part of the model."""
        path = self.path_dir / CLIENT
        try:
            archive = Archive(path.read_bytes())
        except OSError as error:
            raise ArtifactError("A001", f"{path} cannot be read: {error.strerror}") from error
        manifest, module = _client_parts(archive)
        self.client = _client(manifest, archive.read("keys.info"))
        encode, decode = module.encode, module.decode
        self._encode, self._decode = Interpreter(encode), Interpreter(decode)
        self._results = [port.name for port in self.client.outputs]
        self._signature = Signature(
            tuple(Port.of(node.name, node.type) for node in encode.inputs),
            tuple(
                Port.of(name, value.type)
                for name, value in zip(decode.output_names, decode.outputs, strict=True)
            ),
        )

    def generate_private_and_evaluation_keys(self, force: bool = False) -> None:
        """Generate the keys, unless there are some; with `force` in any case."""
        self.client.keygen(cache=self.key_dir, force=force)

    def get_serialized_evaluation_keys(self) -> bytes:
        """The keys that the server needs; they decrypt nothing."""
        self.generate_private_and_evaluation_keys()
        data: bytes = self.client.evaluation_keys.to_bytes()
        return data

    def quantize_encrypt_serialize(self, *x: Array) -> Any:
        """One sample, quantized and encrypted: bytes, or a tuple of them for several inputs.

        x: an array (1, ...) for each input of the model. Errors I001 to I004.
        """
        names = [port.name for port in self._signature.inputs]
        if len(x) != len(names):
            raise InputError("I004", f"{len(x)} inputs are given, not {len(names)}")
        batch = self._signature.arrange(dict(zip(names, x, strict=True)))
        if batch.samples != 1:
            raise InputError("I001", f"{batch.samples} samples are given, not one")
        self.generate_private_and_evaluation_keys()
        q = self._encode.run(batch.arrays)
        return _alone(self.client.encrypt(*(array[0] for array in q)).to_bytes())

    def deserialize_decrypt(self, *serialized_encrypted_quantized_result: Any) -> Any:
        """The circuit's integer results, from what the server gives."""
        from lutra.backends.concrete import Ciphertexts

        parts = [p for given in serialized_encrypted_quantized_result for p in _parts(given)]
        return _alone(self.client.decrypt(Ciphertexts.from_bytes(parts)))

    def deserialize_decrypt_dequantize(self, *serialized_encrypted_quantized_result: Any) -> Any:
        """The model's outputs for one sample, from what the server gives.

        Error I004 for the few models that need their inputs again.
        """
        results = self.deserialize_decrypt(*serialized_encrypted_quantized_result)
        arrays = results if isinstance(results, tuple) else (results,)
        named = dict(zip(self._results, (array[None] for array in arrays), strict=True))
        wanted = {node.name for node in self._decode.graph.inputs}
        outputs = self._decode.run({n: a for n, a in named.items() if n in wanted})
        return _alone([array[0] for array in outputs])


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


def _client_archive(model: Model) -> bytes:
    executable: Any = model.executable
    constants: dict[str, Array] = {}
    graphs = Module([model.module.encode, model.module.decode])
    parts: dict[str, bytes] = {
        "module.txt": text_of_module(graphs, ASIDE, constants).encode(),
        "constants.npz": pack_arrays(constants),
        "keys.info": executable.client.parameters,
    }
    manifest = {
        "format": 1,
        **_versions(),
        "inputs": [asdict(port) for port in executable.client.inputs],
        "outputs": [asdict(port) for port in executable.client.outputs],
        "parts": {name: _digest(content) for name, content in parts.items()},
    }
    header = json.dumps(manifest, indent=1).encode()
    return pack({"manifest.json": header, **parts})


def _client_parts(archive: Archive) -> tuple[dict[str, Any], Module]:
    """The manifest and the graphs of client.zip, checked. Errors A002, A003."""
    contents = {name: archive.read(name) for name in PARTS}
    try:
        manifest = json.loads(archive.read("manifest.json"))
        written = {name: manifest[name] for name in _versions()}
        whole = all(manifest["parts"][name] == _digest(c) for name, c in contents.items())
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ArtifactError("A002", f"the manifest of {CLIENT} is damaged: {error}") from error
    if written != _versions():
        raise ArtifactError(
            "A003",
            f"{CLIENT} was written by {_listed(written)}, this is {_listed(_versions())}",
            help="install the same versions",
        )
    if not whole:
        raise ArtifactError("A002", f"a part of {CLIENT} is not the one that was saved")
    try:
        constants = unpack_arrays(contents["constants.npz"])
        module = parse_module(contents["module.txt"].decode(), constants)
        verify(module)
        if set(module.graphs) != {"encode", "decode"}:
            raise ValueError("other graphs than encode and decode")
    except Exception as error:  # the text may be anything
        raise ArtifactError("A002", f"the graphs of {CLIENT} cannot be read: {error}") from error
    return manifest, module


def _client(manifest: dict[str, Any], info: bytes) -> Any:
    from lutra.backends.concrete import Client
    from lutra.backends.concrete.emission import Port

    try:
        inputs, outputs = (
            [Port(**{**entry, "shape": tuple(entry["shape"])}) for entry in manifest[key]]
            for key in ("inputs", "outputs")
        )
        return Client.of(inputs, outputs, info)
    except (TypeError, KeyError, RuntimeError) as error:
        raise ArtifactError("A002", f"{CLIENT} is damaged: {error}") from error


def _versions() -> dict[str, str]:
    return {"lutra": lutra.__version__, "concrete-python": version("concrete-python")}


def _listed(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in versions.items())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _parts(given: Any) -> list[Any]:
    return list(given) if isinstance(given, tuple | list) else [given]


def _alone(parts: Sequence[Any]) -> Any:
    return parts[0] if len(parts) == 1 else tuple(parts)
