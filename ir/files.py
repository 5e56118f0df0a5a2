"""Modules in files: the text, and beside it the arrays that are too large for it.

`net.lutra-ir` holds the text, `net.lutra-ir.npz` the arrays that it names as `@c0`, `@c1`, ...
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lutra.ir.core import Module
from lutra.ir.errors import InputError
from lutra.ir.parser import parse_module
from lutra.ir.text import text_of_module
from lutra.ir.types import Array

INLINE = 32
"""Arrays with more elements go beside the text."""


def write_module(module: Module, path: Path, *, limit: int = INLINE) -> None:
    """Write a module to `path`, and its arrays of more than `limit` elements beside it."""
    constants: dict[str, Array] = {}
    text = text_of_module(module, limit, constants)
    if constants:
        write_arrays(beside(path), constants)
    path.write_text(text, encoding="utf-8")


def read_module(path: Path, constants: Mapping[str, Array] | None = None) -> Module:
    """Read a module and the arrays beside it, unless they are given. Errors I002, I004, T001."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError("I004", f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError("I002", f"{path} is no text: {error}") from error
    if constants is None and beside(path).exists():
        constants = read_arrays(beside(path))
    return parse_module(text, constants)


def beside(path: Path) -> Path:
    """Where the large arrays of the module in `path` are."""
    return path.with_name(f"{path.name}.npz")


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write an `.npz` file; unlike `numpy.savez`, for arrays of any names."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.save(stream, array, allow_pickle=False)


def read_arrays(path: Path) -> dict[str, Array]:
    """All arrays of an `.npz` file by name. Errors I002, I004."""
    try:
        with np.load(path, allow_pickle=False) as found:
            return dict(found)
    except OSError as error:
        raise InputError("I004", f"{path} cannot be read: {error.strerror or error}") from error
    except (AttributeError, TypeError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError("I002", f"{path} holds no arrays by name: {error}") from error
