"""Saved models: one zip of readable parts, never pickle.

    manifest.json   format, versions, pipeline, backend and options, inputs, outputs, digests
    module.txt      the text of the IR; its large constants are `@name`s
    constants.npz   those constants
    encode.onnx     what the client computes before encryption,
    decode.onnx     and after decryption, for clients without Lutra

The same model gives the same bytes. Loading checks names, sizes and digests before it parses.
Digests reveal damage, not malice: who can write the file can write its digests.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar

import lutra
from lutra.archive import Archive, pack, pack_arrays, unpack_arrays, write_atomically
from lutra.backends.onnx import client_model
from lutra.ir.core import Graph, Module
from lutra.ir.errors import ArtifactError
from lutra.ir.parser import parse_module
from lutra.ir.text import text_of_module
from lutra.ir.types import Array
from lutra.ir.verifier import verify
from lutra.model import Model
from lutra.passes.base import Progress
from lutra.signature import Port, Signature

T = TypeVar("T")

FORMAT = 1
"""Version of the layout above. It grows when older versions of Lutra can no longer read it."""

PARTS = ("module.txt", "constants.npz", "encode.onnx", "decode.onnx")

ASIDE = 32
"""Constants of more elements stand in `constants.npz`."""


def save(model: Model, path: str | Path) -> None:
    """Write a model to `path`, at once or not at all. Error I004 where that is not possible."""
    constants: dict[str, Array] = {}
    text = text_of_module(model.module, ASIDE, constants)
    parts = {
        "module.txt": text.encode(),
        "constants.npz": pack_arrays(constants),
        "encode.onnx": _serialized(model.module.encode),
        "decode.onnx": _serialized(model.module.decode),
    }
    manifest = {
        "format": FORMAT,
        "lutra": lutra.__version__,
        "pipeline": model.pipeline,
        "choices": list(model.choices),
        "backend": model.backend,
        "options": model.options,
        **_ports(model.signature),
        "parts": {name: hashlib.sha256(content).hexdigest() for name, content in parts.items()},
    }
    manifest["digest"] = _digest(manifest)
    header = json.dumps(manifest, indent=1, sort_keys=True).encode()
    write_atomically(Path(path), pack({"manifest.json": header, **parts}))


def load(path: str | Path, *, progress: Progress | None = None) -> Model:
    """The model in a file that `Model.save` wrote; it predicts as that one did.

    Errors: A001 where the file is no readable archive, A002 where its contents are damaged or do
    not fit together, A003 where a newer Lutra wrote it.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ArtifactError("A001", f"{path} cannot be read: {error.strerror}") from error
    try:
        return _load(Archive(content), progress)
    except ArtifactError as error:
        help = error.help or "copy the file again, or save the model again"
        raise ArtifactError(error.code, f"{path}: {error.message}", help=help) from error


def _load(archive: Archive, progress: Progress | None) -> Model:
    manifest = _manifest(archive)
    odd = archive.names.symmetric_difference({"manifest.json", *PARTS})
    if odd:
        raise ArtifactError("A002", f"parts are missing or unknown: {', '.join(sorted(odd))}")
    digests = _field(manifest, "parts", dict)
    parts = {name: archive.read(name) for name in PARTS}
    for name, content in parts.items():
        if digests.get(name) != hashlib.sha256(content).hexdigest():
            raise ArtifactError("A002", f"part {name!r} is not the one that was saved")
    module = _module(parts["module.txt"], unpack_arrays(parts["constants.npz"]))
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


def _module(text: bytes, constants: dict[str, Array]) -> Module:
    """The IR, valid and with graphs that fit together."""
    try:
        module = parse_module(text.decode(), constants)
        verify(module)
    except Exception as error:  # the text may be anything, and so may what it makes of operations
        raise ArtifactError("A002", f"part 'module.txt' cannot be read: {error}") from error
    if set(module.graphs) != {"encode", "circuit", "decode"} or not _fit(module):
        raise ArtifactError("A002", "part 'module.txt' holds no graphs that fit together")
    return module


def _fit(module: Module) -> bool:
    encode, circuit, decode = module.encode, module.circuit, module.decode
    made = dict(zip(circuit.output_names, (v.shape for v in circuit.outputs), strict=True))
    made |= {node.name: node.type.shape for node in encode.inputs}
    return [value.shape for value in encode.outputs] == [
        node.type.shape for node in circuit.inputs
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
        return [{"name": p.name, "shape": list(p.shape), "dtype": p.dtype} for p in ports]

    return {"inputs": entries(signature.inputs), "outputs": entries(signature.outputs)}


def _serialized(graph: Graph) -> bytes:
    return bytes(client_model(graph).SerializeToString(deterministic=True))
