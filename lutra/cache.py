"""What is kept between processes, in the user's cache folder: compiled models and test keys.

    compiled/KEY.lutra           models as `Model.save` writes them, without the backend's files
    insecure-test-keys/KEY.keys  digest and key set, unencrypted, of one choice of parameters

An entry is named by a digest of all that it depends on, and written at once or not at all. Who
makes one holds a lock, so that others wait for it instead of making it again. A folder that cannot
be written, and an entry that is damaged, cost time and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from lutra.archive import write_atomically
from lutra.experiment.versions import versions
from lutra.ir.core import Module
from lutra.ir.errors import ArtifactError, Error, InputError
from lutra.ir.text import text_of_module
from lutra.ir.types import Array
from lutra.model import Model
from lutra.passes import Pipeline

log = logging.getLogger(__name__)

COMPILED, TEST_KEYS = "compiled", "insecure-test-keys"

ENDINGS = {COMPILED: ".lutra", TEST_KEYS: ".keys"}
"""Kinds of entries: the folders that they are in, and what their names end with."""

DIGEST = 32
"""Bytes of a digest."""


def folder() -> Path:
    """Lutra's own folder among the user's caches (XDG Base Directory Specification)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lutra"


# --- compiled models ------------------------------------------------------------------------------
def key_of(
    module: Module, samples: Mapping[str, Array] | None, pipeline: Pipeline, *settings: Any
) -> str:
    """A digest of all that a compiled model depends on.

    module: as it was imported. samples: calibration data by input. settings: JSON values. Versions
    count, too: of Python, of libraries, and of the sources that provide the passes.
    """
    constants: dict[str, Array] = {}
    found = hashlib.sha256(text_of_module(module, 0, constants).encode())
    for arrays in (constants, samples or {}):
        for name, array in sorted(arrays.items()):
            found.update(f"{name} {array.dtype} {array.shape}".encode())
            found.update(np.ascontiguousarray(array).data)
    packages = (type(item).__module__.split(".")[0] for item in pipeline.flat())
    parts = [str(pipeline), versions(packages), samples is None, settings]
    found.update(json.dumps(parts, sort_keys=True).encode())
    return found.hexdigest()


def compiled(key: str, make: Callable[[], Model]) -> Model:
    """The model of this key, from its entry or made and kept."""
    with _entry(COMPILED, key) as path:
        if path is None:
            return make()
        found = _load(path)
        if found is None:
            found = make()
            _keep(path, lambda: _packed(found))
        else:
            log.info("compiled model taken from %s", path)
        return found


def _load(path: Path) -> Model | None:
    from lutra.artifact import load

    try:
        return load(path) if path.exists() else None
    except ArtifactError as error:
        log.warning("compiled anew, for the entry is damaged: %s", error.message)
        return None


def _packed(model: Model) -> bytes:
    from lutra.artifact import packed

    return packed(model, deployable=False)


# --- keys for tests -------------------------------------------------------------------------------
def take_test_keys(client: Any) -> None:
    """Give a client keys that lie unencrypted in the cache folder; generated if there are none.

    Whoever reads the folder reads what these keys encrypt. For tests and experiments alone.
    """
    with _entry(TEST_KEYS, hashlib.sha256(client.parameters).hexdigest()) as path:
        data = None if path is None else _checked(path)
        if data is not None:
            log.warning("insecure test keys taken from %s", path)
            client.take_keys(data)
            return
        client.keygen()
        if path is not None:
            log.warning("insecure test keys kept in %s", path)
            _keep(path, lambda: _sealed(client.keys_to_bytes()))


def _sealed(data: bytes) -> bytes:
    return hashlib.sha256(data).digest() + data


def _checked(path: Path) -> bytes | None:
    """The keys in a file, None where there are none or they are damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    data = content[DIGEST:]
    return data if _sealed(data) == content else None


# --- entries --------------------------------------------------------------------------------------
@contextmanager
def _entry(kind: str, key: str) -> Iterator[Path | None]:
    """The file of an entry, which is this process's alone; None where there can be no folder."""
    place = folder() / kind
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        place.chmod(0o700)  # whatever it was before
        lock = FileLock(place / f"{key}.lock")
        lock.acquire()
    except OSError as error:
        log.warning("no cache in %s: %s", place, error)
        yield None
        return
    try:
        yield place / f"{key}{ENDINGS[kind]}"
    finally:
        lock.release()


def _keep(path: Path, content: Callable[[], bytes]) -> None:
    try:
        write_atomically(path, content())
    except (Error, OSError) as error:
        log.warning("not kept in the cache: %s", error)


@dataclass(frozen=True)
class Entry:
    """One file of the cache. written: seconds since 1970."""

    kind: str
    path: Path
    size: int
    written: float


def entries() -> Iterator[Entry]:
    """All that is in the cache, the latest last."""
    found = []
    for kind, ending in ENDINGS.items():
        for path in (folder() / kind).glob(f"*{ending}"):
            try:
                facts = path.stat()
            except FileNotFoundError:  # cleared meanwhile
                continue
            found.append(Entry(kind, path, facts.st_size, facts.st_mtime))
    yield from sorted(found, key=lambda entry: entry.written)


def clear(kinds: Iterable[str] = tuple(ENDINGS)) -> list[Entry]:
    """Delete entries and what writers that were killed left; returns the entries.

    Error I005 for a kind that there is not.
    """
    chosen = set(kinds)
    if not chosen <= ENDINGS.keys():
        raise InputError(
            "I005", f"no kinds {sorted(chosen)} of entries", help=f"there are: {', '.join(ENDINGS)}"
        )
    gone = [entry for entry in entries() if entry.kind in chosen]
    for kind in chosen:
        for path in (folder() / kind).glob("*"):  # hidden files, too
            path.unlink(missing_ok=True)
    return gone
