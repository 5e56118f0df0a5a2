"""What travels between client and server: zips of bytes, with a header that says for whom.

    header.json    kind, digest of the model, name of the keys; of ciphertexts how many samples
    keys           evaluation keys, or
    0/0, 0/1, ...  the ciphertexts: sample / input or output of the circuit

Reading checks names and sizes. What the parts hold is for native code to parse, which may end its
process over damaged ones: servers read them in a process of their own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from lutra.archive import Archive, pack
from lutra.ir.errors import ArtifactError, ServingError

Kind = Literal["keys", "inputs", "results"]

HEADER, KEYS = "header.json", "keys"

HEADER_BYTES = 1000
"""No header is longer."""


@dataclass(frozen=True)
class Header:
    """What a message is, for which model, and under which keys."""

    kind: Kind
    model: str
    keys: str
    samples: int = 0

    def check(self, kind: Kind, model: str, keys: str | None = None) -> None:
        """Errors: S001 for another kind of message, S002 for another model or other keys."""
        if self.kind != kind:
            raise ServingError("S001", f"these are {self.kind}, not {kind}")
        if self.model != model:
            raise ServingError(
                "S002",
                f"the {kind} are for model {self.model:.12}, this is {model:.12}",
                help="take the client's part from the server that runs the model",
            )
        if keys is not None and self.keys != keys:
            raise ServingError(
                "S002",
                f"the {kind} are under keys {self.keys:.12}, not {keys:.12}",
                help="upload the evaluation keys of the client that encrypts",
            )


def pack_keys(header: Header, keys: bytes) -> bytes:
    """Evaluation keys as a message."""
    return _pack(header, {KEYS: keys})


def pack_samples(header: Header, samples: Sequence[Sequence[bytes]]) -> bytes:
    """Ciphertexts as a message: for every sample those of its inputs or outputs."""
    parts = {f"{i}/{j}": part for i, sample in enumerate(samples) for j, part in enumerate(sample)}
    return _pack(header, parts)


def _pack(header: Header, parts: dict[str, bytes]) -> bytes:
    return pack({HEADER: json.dumps(asdict(header)).encode(), **parts}, compress=False)


class Message:
    """A message that was received: bytes, or the path of a file. Error S001 where it is none."""

    def __init__(self, content: bytes | Path) -> None:
        try:
            self._archive = Archive(content)
            self.header = _header(self._archive)
        except ArtifactError as error:
            raise _unreadable(error.message) from error

    def keys(self) -> bytes:
        """The evaluation keys. Error S001."""
        return self._read(KEYS)

    def samples(self, width: int) -> list[list[bytes]]:
        """The ciphertexts, `width` for each sample. Error S001 where there are others."""
        names = [[f"{i}/{j}" for j in range(width)] for i in range(self.header.samples)]
        if self._archive.names != {HEADER, *(name for sample in names for name in sample)}:
            raise _unreadable(f"there are not {width} ciphertexts for each sample")
        return [[self._read(name) for name in sample] for sample in names]

    def content(self) -> bytes:
        """All that the message holds but for its header. Error S001."""
        return b"".join(map(self._read, sorted(self._archive.names - {HEADER})))

    def _read(self, name: str) -> bytes:
        try:
            return self._archive.read(name)
        except ArtifactError as error:
            raise _unreadable(error.message) from error


def _header(archive: Archive) -> Header:
    content = archive.read(HEADER) if archive.size(HEADER) <= HEADER_BYTES else b""
    try:
        found: dict[str, Any] = json.loads(content)
        header = Header(**found)
    except (ValueError, TypeError, RecursionError) as error:
        raise _unreadable("its header is none") from error
    texts = (header.kind, header.model, header.keys)
    valid = all(type(text) is str for text in texts) and type(header.samples) is int
    if not valid or header.samples < 0 or header.samples >= len(archive.names) + 1:
        raise _unreadable("its header is none")
    return header


def _unreadable(why: str) -> ServingError:
    return ServingError("S001", f"no message of Lutra: {why}", help="send what `Client` gives")
