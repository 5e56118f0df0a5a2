"""Quantizers, quantized arrays and modules as JSON, under the names that users of Concrete ML know.

    {"type_name": "QuantizedArray", "format": 1, "serialized_value": {...}}

Nothing is pickled. Reading trusts a text as little as `lutra.load` trusts a file.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import IO, Any, TypeVar

import numpy as np
from typing_extensions import Self

from lutra.ir.errors import ArtifactError, InputError
from lutra.ir.types import Array

T = TypeVar("T")

FORMAT = 1
"""It grows when older versions of Lutra can no longer read what is written."""

TYPES: dict[str, type[Serializable]] = {}
"""What can be read, by the name of its class."""


class Serializable:
    """What can be written as JSON and read again."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        TYPES.setdefault(cls.__name__, cls)

    def dump_dict(self) -> dict[str, Any]:
        """All that it takes to make it again, as JSON has it."""
        raise NotImplementedError

    @classmethod
    def load_dict(cls, metadata: Any) -> Self:
        """What `dump_dict` was called on. Error A002 where something is missing or odd."""
        raise NotImplementedError

    def dumps(self) -> str:
        """It as a JSON text, which `loads` reads."""
        entry = {"type_name": type(self).__name__, "format": FORMAT}
        return json.dumps({**entry, "serialized_value": self.dump_dict()})

    def dump(self, file: IO[str]) -> None:
        """Write that text into an open file."""
        file.write(self.dumps())


def dumps(obj: Serializable) -> str:
    """`obj.dumps()`"""
    return obj.dumps()


def dump(obj: Serializable, file: IO[str]) -> None:
    """`obj.dump(file)`"""
    obj.dump(file)


def loads(content: str | bytes) -> Any:
    """What `dumps` wrote.

    Errors: A001 for what is no JSON, A002 where it is damaged, A003 where a newer Lutra wrote it.
    """
    try:
        entry = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ArtifactError("A001", f"the text is no JSON: {error}") from error
    name, format = field(entry, "type_name", str), field(entry, "format", int)
    if format > FORMAT:
        raise ArtifactError(
            "A003", f"format {format}; this Lutra reads up to {FORMAT}", help="update Lutra"
        )
    if name not in TYPES:
        raise ArtifactError("A002", f"no {name!r} can be read; there are: {', '.join(TYPES)}")
    return TYPES[name].load_dict(field(entry, "serialized_value", dict))


def load(file: IO[str]) -> Any:
    """What `dump` wrote into an open file. Errors as of `loads`."""
    return loads(file.read())


def field(metadata: Any, key: str, kind: type[T]) -> T:
    """An entry of that very type. Error A002 where there is none."""
    value = metadata.get(key) if isinstance(metadata, dict) else None
    if type(value) is not kind:
        raise ArtifactError("A002", f"there is no valid entry {key!r}")
    return value


def entries_of(array: Array) -> Any:
    """An array as JSON has it. Error I005 for what is no array of numbers."""
    if not isinstance(array, np.ndarray):
        raise InputError("I005", f"a {type(array).__name__} cannot be written")
    return array.tolist()


def array_of(metadata: Any, key: str, kind: str) -> Array:
    """An array of integers ("i") or floats ("f"). Error A002 where it is none."""
    try:
        array = np.asarray(metadata[key])
    except (ValueError, TypeError, KeyError) as error:
        raise ArtifactError("A002", f"entry {key!r} is no array: {error}") from error
    if array.dtype.kind not in {"i": "i", "f": "if"}[kind]:
        raise ArtifactError("A002", f"entry {key!r} holds {array.dtype}")
    return array.astype(np.int64 if kind == "i" else np.float64)


def text_of(content: bytes) -> str:
    """Bytes as JSON has them."""
    return base64.b64encode(content).decode()


def bytes_of(metadata: Any, key: str) -> bytes:
    """The bytes of such an entry. Error A002."""
    try:
        return base64.b64decode(field(metadata, key, str), validate=True)
    except binascii.Error as error:
        raise ArtifactError("A002", f"entry {key!r} cannot be read: {error}") from error
