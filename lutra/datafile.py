"""Arrays as the command line names them: `data.npz`, `data.npz:key`, `data.npy`; and shapes."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from lutra.ir.errors import InputError, did_you_mean
from lutra.ir.types import Array


def read(source: str, names: Sequence[str] = ()) -> Array | dict[str, Array]:
    """The array that `source` names, or a dict of arrays by name.

    Without a key, an `.npz` file gives its only array, or those called like the inputs in `names`.
    Errors: I004 where there is no such file or key, I002 where it holds no arrays of numbers.
    """
    path, key = _split(source)
    found = _load(path, key)
    if not isinstance(found, dict):
        return found
    if key is not None:
        return found[key]
    if names and set(names) <= set(found):
        return {name: found[name] for name in names}
    if len(found) == 1:
        return next(iter(found.values()))
    raise InputError(
        "I004",
        f"{path} holds several arrays: {', '.join(sorted(found))}",
        help=f"name one of them: {path}:{sorted(found)[0]}",
    )


def read_array(source: str) -> Array:
    """The one array that `source` names. Errors: I004, I002."""
    found = read(source)
    return next(iter(found.values())) if isinstance(found, dict) else found


def shapes(texts: Sequence[str]) -> dict[str, list[int]]:
    """Shapes by name from texts such as `x=1,3,32,32`. Error I005 where one reads otherwise."""
    found: dict[str, list[int]] = {}
    for text in texts:
        name, _, sizes = text.rpartition("=")
        try:
            found[name] = [int(size) for size in sizes.split(",")]
        except ValueError as error:
            way_out = "write --shape name=1,3,32,32"
            raise InputError("I005", f"--shape {text}", help=way_out) from error
    return found


def _split(source: str) -> tuple[Path, str | None]:
    """Path and key; a colon that belongs to the file's name splits nothing."""
    path, colon, key = source.rpartition(":")
    if not colon or Path(source).exists():
        return Path(source), None
    return Path(path), key


def _load(path: Path, key: str | None) -> Array | dict[str, Array]:
    """One array, or all those wanted from an archive."""
    try:
        with path.open("rb") as stream:
            loaded = np.load(stream, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return loaded
            return {name: loaded[name] for name in _wanted(path, key, loaded.files)}
    except OSError as error:
        raise InputError("I004", f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError("I002", f"{path} holds no arrays of numbers: {error}") from error


def _wanted(path: Path, key: str | None, names: Sequence[str]) -> Iterable[str]:
    if key is None:
        return names
    if key not in names:
        raise InputError("I004", f"{path} has no array {key!r}", help=did_you_mean(key, names))
    return [key]
