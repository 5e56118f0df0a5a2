"""Saved models: one zip of readable parts, never pickle.

    manifest.json   format, versions, pipeline, backend and options, inputs, outputs, digests
    module.txt      the text of the IR; its large constants are `@name`s
    constants.npz   those constants
    encode.onnx     what the client computes before encryption,
    decode.onnx     and after decryption, for clients without Lutra
    deployment/*    the backend's own files for client and server

The client's part of a model is such a zip, too, without the circuit and what only servers need; its
manifest names the digest of the whole `model`.

The same model gives the same bytes. Loading checks names, sizes and digests before it parses.
Digests reveal damage, not malice: who can write the file can write its digests.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import lutra
from lutra.archive import Archive, pack, pack_arrays, unpack_arrays, write_atomically
from lutra.backends import registry
from lutra.backends.base import Deployable
from lutra.backends.onnx import client_model
from lutra.ir.core import Graph, Module
from lutra.ir.errors import ArtifactError, BackendError, InputError
from lutra.ir.parser import parse_module
from lutra.ir.text import text_of_module
from lutra.ir.types import Array
from lutra.ir.verifier import verify
from lutra.model import Model
from lutra.passes.base import Progress
from lutra.signature import Port, Signature

T = TypeVar("T")

FORMAT = 3
"""Version of the layout above. It grows when older versions of Lutra can no longer read it.

Format 1 had no files of the backend, format 2 no clear inputs.
"""

PARTS = ("module.txt", "constants.npz", "encode.onnx", "decode.onnx")

DEPLOYMENT = "deployment/"
"""What names of the backend's files begin with."""

DEPLOYED = re.compile(rf"{DEPLOYMENT}\w+\.\w+", re.ASCII)

ASIDE = 32
"""Constants of more elements stand in `constants.npz`."""


def save(model: Model, path: str | Path) -> None:
    """Write a model to `path`, at once or not at all. Error I004 where that is not possible."""
    write_atomically(Path(path), packed(model))


def packed(model: Model, *, deployable: bool = True) -> bytes:
    """The bytes of the file that `save` writes; without the backend's files if not `deployable`."""
    manifest = {
        "format": FORMAT,
        "lutra": lutra.__version__,
        "pipeline": model.pipeline,
        "choices": list(model.choices),
        "backend": model.backend,
        "options": model.options,
        **_ports(model.signature),
    }
    return _pack(manifest, model.module, _deployed(model) if deployable else {})


def _deployed(model: Model) -> dict[str, bytes]:
    """The backend's files by name; none where it does not encrypt, or refuses the circuit."""
    if not isinstance(registry.find(model.backend), Deployable):
        return {}
    try:
        executable: Any = model.executable
    except BackendError:
        return {}  # the circuit still runs in the clear
    return dict(executable.specification)


def _pack(manifest: dict[str, Any], module: Module, deployed: Mapping[str, bytes]) -> bytes:
    constants: dict[str, Array] = {}
    text = text_of_module(module, ASIDE, constants)
    parts = {
        "module.txt": text.encode(),
        "constants.npz": pack_arrays(constants),
        "encode.onnx": _serialized(module.encode),
        "decode.onnx": _serialized(module.decode),
        **{DEPLOYMENT + name: content for name, content in deployed.items()},
    }
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in parts.items()}
    sealed = {**manifest, "parts": digests}
    sealed["digest"] = _digest(sealed)
    header = json.dumps(sealed, indent=1, sort_keys=True).encode()
    return pack({"manifest.json": header, **parts})


def load(path: str | Path, *, progress: Progress | None = None) -> Model:
    """The model in a file that `Model.save` wrote; it predicts as that one did.

    Errors: A001 where the file is no readable archive, A002 where its contents are damaged or do
    not fit together, A003 where a newer Lutra wrote it.
    """
    return Artifact.read(path).model(progress)


@dataclass(frozen=True)
class Artifact:
    """The contents of a file that `Model.save` wrote, or of a client's part, checked.

    source: where they come from, for errors.
    """

    source: str
    manifest: Mapping[str, Any]
    parts: Mapping[str, bytes]

    @classmethod
    def read(cls, source: str | Path | bytes) -> Artifact:
        """Check and unpack a file, or its bytes. Errors A001 to A003."""
        if isinstance(source, bytes):
            return cls._of("the artifact", source)
        try:
            content = Path(source).read_bytes()
        except OSError as error:
            raise ArtifactError("A001", f"{source} cannot be read: {error.strerror}") from error
        return cls._of(str(source), content)

    @classmethod
    def _of(cls, source: str, content: bytes) -> Artifact:
        try:
            archive = Archive(content)
            manifest = _manifest(archive)
            return cls(source, manifest, _parts(archive, _field(manifest, "parts", dict)))
        except ArtifactError as error:
            raise _at(source, error) from error

    @property
    def digest(self) -> str:
        """The digest of the model's manifest, also of a client's part."""
        return str(self.manifest.get("model", self.manifest["digest"]))

    def model(self, progress: Progress | None = None) -> Model:
        """The model. Error A002 where parts do not fit together, or only the client's are there."""
        try:
            if "model" in self.manifest:
                raise ArtifactError("A002", "it is a client's part", help="load the whole model")
            return self._model(progress)
        except ArtifactError as error:
            raise _at(self.source, error) from error

    def _model(self, progress: Progress | None) -> Model:
        manifest = dict(self.manifest)
        module = self._module({"encode", "circuit", "decode"})
        if not _fit(module):
            raise ArtifactError("A002", "part 'module.txt' holds no graphs that fit together")
        model = Model(
            module,
            pipeline=_field(manifest, "pipeline", str),
            backend=_field(manifest, "backend", str),
            options=_field(manifest, "options", dict),
            choices=_field(manifest, "choices", list) if "choices" in manifest else (),
            progress=progress,
        )
        for key, ports in _ports(model.signature).items():
            if _field(manifest, key, list) != ports:
                raise ArtifactError("A002", f"the manifest's {key} are not the module's")
        return model

    def steps(self) -> Module:
        """The client's steps: the graphs `encode` and `decode`. Error A002."""
        graphs = {"encode", "decode"} | ({"circuit"} if "model" not in self.manifest else set())
        try:
            module = self._module(graphs)
        except ArtifactError as error:
            raise _at(self.source, error) from error
        return Module([module.encode, module.decode])

    def _module(self, graphs: set[str]) -> Module:
        """The IR, valid."""
        try:
            constants = unpack_arrays(self.parts["constants.npz"])
            module = parse_module(self.parts["module.txt"].decode(), constants)
            verify(module)
        except ArtifactError:
            raise
        except Exception as error:  # the text may be anything, and so may what it makes of ops
            raise ArtifactError("A002", f"part 'module.txt' cannot be read: {error}") from error
        if set(module.graphs) != graphs:
            raise ArtifactError("A002", "part 'module.txt' holds other graphs than it should")
        return module

    def backend(self) -> Deployable:
        """The backend whose client and server the model needs. Error I005 where there is none."""
        name = _field(dict(self.manifest), "backend", str)
        backend: Any = registry.find(name)
        if not isinstance(backend, Deployable):
            raise InputError(
                "I005",
                f"{self.source}: backend `{name}` does not encrypt",
                help="compile with backend='concrete'",
            )
        return backend

    def deployed(self) -> dict[str, bytes]:
        """The backend's files by name. Error I005 where the model was saved without."""
        found = {
            name.removeprefix(DEPLOYMENT): content
            for name, content in self.parts.items()
            if name.startswith(DEPLOYMENT)
        }
        if not found:
            raise InputError(
                "I005",
                f"{self.source} holds nothing for client and server",
                help="save the model again; `lutra inspect` tells if the backend refuses it",
            )
        return found

    def client_part(self) -> bytes:
        """The bytes of a file with what the client needs alone: no circuit, no weights of it."""
        names = self.backend().CLIENT_PARTS
        deployed = {name: content for name, content in self.deployed().items() if name in names}
        kept = {k: v for k, v in self.manifest.items() if k not in ("parts", "digest", "choices")}
        return _pack({**kept, "model": self.digest}, self.steps(), deployed)


def _at(source: str, error: ArtifactError) -> ArtifactError:
    help = error.help or "copy the file again, or save the model again"
    return ArtifactError(error.code, f"{source}: {error.message}", help=help)


def _parts(archive: Archive, digests: Mapping[str, Any]) -> dict[str, bytes]:
    """The parts that the manifest names, all of them and no others."""
    odd = archive.names.symmetric_difference({"manifest.json", *digests})
    odd |= {name for name in digests if name not in PARTS and not DEPLOYED.fullmatch(name)}
    odd |= set(PARTS) - set(digests)
    if odd:
        raise ArtifactError("A002", f"parts are missing or unknown: {', '.join(sorted(odd))}")
    parts = {name: archive.read(name) for name in digests}
    for name, content in parts.items():
        if digests[name] != hashlib.sha256(content).hexdigest():
            raise ArtifactError("A002", f"part {name!r} is not the one that was saved")
    return parts


def _manifest(archive: Archive) -> dict[str, Any]:
    """The manifest, of a format that is known and with its own digest right."""
    try:
        manifest = json.loads(archive.read("manifest.json"))
    except (ValueError, RecursionError) as error:
        raise ArtifactError("A002", f"the manifest is not JSON: {error}") from error
    if not isinstance(manifest, dict):
        raise ArtifactError("A002", "the manifest is not a JSON object")
    format = _field(manifest, "format", int)
    if format > FORMAT:
        raise ArtifactError(
            "A003",
            f"written by Lutra {manifest.get('lutra', '(unknown)')} in format {format}; "
            f"Lutra {lutra.__version__} reads up to {FORMAT}",
            help="update Lutra",
        )
    if format < 1 or _field(manifest, "digest", str) != _digest(manifest):
        raise ArtifactError("A002", "the manifest is not the one that was saved")
    return manifest


def _fit(module: Module) -> bool:
    encode, circuit, decode = module.encode, module.circuit, module.decode
    made = dict(zip(circuit.output_names, (v.shape for v in circuit.outputs), strict=True))
    made |= {node.name: node.type.shape for node in encode.inputs}
    return [(value.shape, value.clear) for value in encode.outputs] == [
        (node.type.shape, node.clear) for node in circuit.inputs
    ] and all(made.get(node.name) == node.type.shape for node in decode.inputs)


def _field(manifest: dict[str, Any], key: str, kind: type[T]) -> T:
    value = manifest.get(key)
    if type(value) is not kind:
        raise ArtifactError("A002", f"the manifest has no valid entry {key!r}")
    return value


def _digest(manifest: dict[str, Any]) -> str:
    """Digest of a manifest but for the digest itself."""
    rest = {key: value for key, value in manifest.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _ports(signature: Signature) -> dict[str, list[dict[str, Any]]]:
    def entries(ports: tuple[Port, ...]) -> list[dict[str, Any]]:
        return [
            {
                "name": port.name,
                "shape": list(port.shape),
                "dtype": port.dtype,
                **({"clear": True} if port.clear else {}),
            }
            for port in ports
        ]

    return {"inputs": entries(signature.inputs), "outputs": entries(signature.outputs)}


def _serialized(graph: Graph) -> bytes:
    return bytes(client_model(graph).SerializeToString(deterministic=True))
