"""Zip archives of known parts: the same parts give the same bytes, and reading trusts nothing."""

from __future__ import annotations

import io
import os
import secrets
import zipfile
import zlib
from collections.abc import Mapping
from math import prod
from pathlib import Path

import numpy as np

from lutra.ir.errors import ArtifactError, InputError
from lutra.ir.types import Array

EPOCH = (1980, 1, 1, 0, 0, 0)
"""Time written for every part: the earliest that zip knows."""

RATIO = 100
"""No part is compressed by more than that, so a small file cannot fill the memory."""

KINDS = "biufU"
"""Kinds of numpy types that arrays in archives may have."""


def pack(parts: Mapping[str, bytes], *, compress: bool = True) -> bytes:
    """The bytes of a zip archive of some parts by name."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in parts.items():
            info = zipfile.ZipInfo(name, EPOCH)
            info.create_system, info.external_attr = 3, 0o644 << 16
            packs = compress and len(content) < RATIO * len(zlib.compress(content))
            info.compress_type = zipfile.ZIP_DEFLATED if packs else zipfile.ZIP_STORED
            archive.writestr(info, content)
    return stream.getvalue()


class Archive:
    """A zip archive, in memory or in a file, read part by part.

    Errors: A001 where the bytes are no zip archive, A002 where a part is damaged, packed in an
    unusual way, larger than it could be, or there twice.
    """

    def __init__(self, content: bytes | Path) -> None:
        try:
            self._zip = zipfile.ZipFile(
                content if isinstance(content, Path) else io.BytesIO(content)
            )
        except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
            raise ArtifactError(
                "A001",
                f"not a zip archive, or cut short: {error}",
                help="copy the file again, or save the model again; `lutra compile` makes one of "
                "an ONNX model",
            ) from error
        self._parts = {info.filename: info for info in self._zip.infolist()}
        if len(self._parts) < len(self._zip.infolist()):
            raise ArtifactError("A002", "two parts have one name")

    @property
    def names(self) -> set[str]:
        return set(self._parts)

    def size(self, name: str) -> int:
        """Bytes that a part claims to have; 0 where there is none of that name."""
        return self._parts[name].file_size if name in self._parts else 0

    def read(self, name: str) -> bytes:
        """The contents of one part."""
        info = self._parts.get(name)
        if info is None:
            raise ArtifactError("A002", f"part {name!r} is missing")
        usual = info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        if not usual or info.flag_bits & 1:
            raise ArtifactError("A002", f"part {name!r} is encrypted or packed in an unusual way")
        if info.file_size > RATIO * info.compress_size:
            raise ArtifactError(
                "A002",
                f"part {name!r} claims to unpack {info.compress_size} to {info.file_size} bytes",
            )
        try:
            with self._zip.open(info) as stream:
                content = stream.read(info.file_size + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
            raise ArtifactError("A002", f"part {name!r} is damaged: {error}") from error
        if len(content) != info.file_size:
            raise ArtifactError("A002", f"part {name!r} has not the size that it claims")
        return content


def pack_arrays(arrays: Mapping[str, Array]) -> bytes:
    """The bytes of an `.npz` file, as `numpy.load` reads it."""
    parts = {}
    for name, array in arrays.items():
        if array.dtype.kind not in KINDS:
            raise ArtifactError("A002", f"an array of {array.dtype} has no form in an .npz file")
        stream = io.BytesIO()
        np.lib.format.write_array(stream, np.asarray(array), (1, 0), allow_pickle=False)  # type: ignore[no-untyped-call]
        parts[f"{name}.npy"] = stream.getvalue()
    return pack(parts, compress=False)


def unpack_arrays(content: bytes) -> dict[str, Array]:
    """The arrays of an `.npz` file, of numbers and text only. Errors A001, A002."""
    archive = Archive(content)
    return {name.removesuffix(".npy"): _array(name, archive.read(name)) for name in archive.names}


def _array(name: str, content: bytes) -> Array:
    """An array from the bytes of an `.npy` file, whose header is checked against their number."""
    stream = io.BytesIO(content)
    try:
        if np.lib.format.read_magic(stream) != (1, 0):  # type: ignore[no-untyped-call]
            raise ValueError("an unusual version")
        header = np.lib.format.read_array_header_1_0(stream)  # type: ignore[no-untyped-call]
        shape, fortran, dtype = header
        body = content[stream.tell() :]
        if dtype.kind not in KINDS or dtype.itemsize * prod(shape) != len(body):
            raise ValueError("a header that does not fit the contents")
        array = np.frombuffer(body, dtype).reshape(shape, order="F" if fortran else "C")
    except (ValueError, TypeError, SyntaxError, OverflowError) as error:
        raise ArtifactError("A002", f"array {name!r} cannot be read: {error}") from error
    return array


def check_writable(path: Path) -> None:
    """Error I004 where no file can be written to `path`; for before the work that it is for."""
    folder = path.parent
    if not folder.is_dir():
        raise InputError(
            "I004",
            f"{path} cannot be written: there is no folder {folder}",
            help=f"make the folder first: mkdir -p {folder}",
        )
    if path.is_dir():
        raise InputError(
            "I004", f"{path} cannot be written: it is a folder", help=f"name a file: {path}/NAME"
        )
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise InputError(
            "I004", f"{path} cannot be written: permission denied", help="choose another folder"
        )


def write_atomically(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write a file at once or not at all. Error I004 where that is not possible.

    mode: who may read and write it; the process's umask takes away from that.
    """
    check_writable(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        _replace(path, temporary, content, mode)
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror or error}"
        raise InputError(
            "I004", message, help="free some space, or choose another folder"
        ) from error


def _replace(path: Path, temporary: Path, content: bytes, mode: int) -> None:
    def create(name: str, flags: int) -> int:
        return os.open(name, flags, mode)

    try:
        with open(temporary, "xb", opener=create) as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
