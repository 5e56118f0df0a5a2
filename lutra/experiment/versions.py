"""What a trial's result depends on beside its own text: the software."""

from __future__ import annotations

import hashlib
import importlib
import os
import platform
import sys
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType

LIBRARIES = ("concrete-python", "numpy", "onnx", "onnxruntime")
"""Distributions whose version may change a result."""


def versions(packages: Iterable[str]) -> str:
    """Python, `LIBRARIES`, and these importable packages with a digest of their sources.

    The digest tells apart what has one version number: a package under development.
    """
    found = [f"python {platform.python_version()}"]
    found += [f"{name} {_version(name)}" for name in LIBRARIES]
    own = sorted({"lutra", *packages})
    return "; ".join([*found, *(f"{name} {_version(name)}+{sources(name)}" for name in own)])


@cache
def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "?"


@cache
def sources(package: str) -> str:
    """Eight hexadecimal digits that change with a package's Python sources."""
    module = sys.modules.get(package) or importlib.import_module(package)
    digest = hashlib.sha256()
    for file in sorted(_files(module)):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:8]


def _files(module: ModuleType) -> Iterable[Path]:
    folders = list(getattr(module, "__path__", ()))
    if not folders and getattr(module, "__file__", None):
        yield Path(str(module.__file__))
    for top in folders:
        for folder, _, names in os.walk(top, followlinks=True):
            yield from (Path(folder, name) for name in names if name.endswith(".py"))
