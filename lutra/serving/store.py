"""What a server keeps on disk: clients' evaluation keys, accepted requests and their results.

    model                       digest of the model that all is for
    incoming/*                  what is not complete, or being deleted; emptied at start
    incoming/evaluator-N        temporary files of a process that evaluates
    clients/ID/client.json      token's digest, name and size of the keys
    clients/ID/keys             the evaluation keys, as they came
    requests/ID/request.json    whose, how many samples, how often it was begun
    requests/ID/inputs          the encrypted inputs, as they came
    requests/ID/results         the encrypted results, or
    requests/ID/error.json      why there are none

A folder appears and disappears by one renaming, so that a server killed at any moment finds each
whole or not at all. Names come from the operating system's randomness, never from a client.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import secrets
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from lutra.archive import write_atomically
from lutra.ir.errors import ServingError

T = TypeVar("T")


@dataclass
class StoredClient:
    """A client whose evaluation keys are kept."""

    id: str
    token: str
    """SHA-256 of the token's secret half; the token itself is not kept."""
    keys: str
    size: int
    created: float


@dataclass
class StoredRequest:
    """A request that was accepted."""

    id: str
    client: str
    samples: int
    created: float
    attempts: int = 0
    """How often its evaluation was begun."""


class Store:
    """The folder of one server. Error S004 where another server has it, or it is another model's.

    clients, requests: what is kept, by id.
    """

    def __init__(self, folder: Path, model: str) -> None:
        self.folder = folder
        self._incoming = folder / "incoming"
        for name in ("incoming", "clients", "requests"):
            (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _locked(folder)
        _claim(folder, model)
        for left in self._incoming.iterdir():
            _remove(left)
        self.clients = self._found("client", StoredClient)
        self.requests = self._found("request", StoredRequest)
        for request in [r for r in self.requests.values() if r.client not in self.clients]:
            self.drop_request(request.id)

    def close(self) -> None:
        os.close(self._lock)

    def _found(self, kind: str, cls: type[T]) -> dict[str, T]:
        """All folders of a kind; what is none is removed."""
        found = {}
        for path in (self.folder / f"{kind}s").iterdir():
            try:
                found[path.name] = cls(**json.loads((path / f"{kind}.json").read_text()))
            except (OSError, ValueError, TypeError):
                self._discard(path)
        return found

    # --- uploads --------------------------------------------------------------------------------
    def new(self) -> Path:
        """An empty folder below `incoming`, to be filled and then kept or discarded."""
        path = self._incoming / secrets.token_urlsafe(16)
        path.mkdir(mode=0o700)
        return path

    def scratch(self, number: int) -> Path:
        """A folder for the temporary files of an evaluator, which makes and removes it."""
        return self._incoming / f"evaluator-{number}"

    def discard(self, incoming: Path) -> None:
        """Remove a folder that `new` gave, if it is still there."""
        _remove(incoming)

    def keep_client(self, incoming: Path, keys: str, size: int) -> tuple[StoredClient, str]:
        """Keep a folder with the file `keys`; the client, and the token to be told to it."""
        id, secret = secrets.token_urlsafe(16), secrets.token_urlsafe(32)
        client = StoredClient(id, _digest(secret), keys, size, time.time())
        _write(incoming / "client.json", asdict(client))
        _keep(incoming, self.keys_of(id).parent)
        self.clients[id] = client
        return client, f"{id}.{secret}"

    def keep_request(self, incoming: Path, client: str, samples: int) -> StoredRequest:
        """Keep a folder with the file `inputs`."""
        request = StoredRequest(secrets.token_urlsafe(16), client, samples, time.time())
        _write(incoming / "request.json", asdict(request))
        _keep(incoming, self.inputs_of(request.id).parent)
        self.requests[request.id] = request
        return request

    # --- clients --------------------------------------------------------------------------------
    def client_of(self, token: str) -> StoredClient | None:
        """The client that a token was given to. Hearing of it makes its keys last longer."""
        id, _, secret = token.partition(".")
        client = self.clients.get(id)
        if client is None or not hmac.compare_digest(client.token, _digest(secret)):
            return None
        os.utime(self.keys_of(id))
        return client

    def heard_of(self, client: str) -> float:
        """When a client was heard of last, in seconds since 1970."""
        return self.keys_of(client).stat().st_mtime

    def keys_of(self, client: str) -> Path:
        return self.folder / "clients" / client / "keys"

    @property
    def key_bytes(self) -> int:
        """Size of all keys that are kept."""
        return sum(client.size for client in self.clients.values())

    def drop_client(self, id: str) -> None:
        """Delete a client's keys and its requests."""
        del self.clients[id]
        for request in [r for r in self.requests.values() if r.client == id]:
            self.drop_request(request.id)
        self._discard(self.keys_of(id).parent)

    # --- requests -------------------------------------------------------------------------------
    def inputs_of(self, request: str) -> Path:
        return self.folder / "requests" / request / "inputs"

    def results_of(self, request: str) -> Path:
        return self.folder / "requests" / request / "results"

    def begin(self, request: StoredRequest) -> None:
        """Note that an evaluation begins, before it does."""
        request.attempts += 1
        self._note(request)

    def unbegin(self, request: StoredRequest) -> None:
        """Note that an evaluation did not end for reasons of the server's own."""
        request.attempts -= 1
        self._note(request)

    def _note(self, request: StoredRequest) -> None:
        _write(self.inputs_of(request.id).with_name("request.json"), asdict(request))

    def fail(self, request: str, error: ServingError) -> None:
        """Note why there are no results."""
        content = {"code": error.code, "message": error.message, "help": error.help}
        _write(self.inputs_of(request).with_name("error.json"), content)

    def error_of(self, request: str) -> ServingError | None:
        """Why there are no results, if that was noted."""
        try:
            found = json.loads(self.inputs_of(request).with_name("error.json").read_text())
            return ServingError(found["code"], found["message"], help=found["help"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def drop_request(self, id: str) -> None:
        """Delete a request and its results."""
        del self.requests[id]
        self._discard(self.inputs_of(id).parent)

    def _discard(self, path: Path) -> None:
        gone = self._incoming / secrets.token_urlsafe(16)
        path.rename(gone)
        _remove(gone)


def sync(path: Path) -> None:
    """Have the disk hold a file or a folder's entries."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _keep(incoming: Path, target: Path) -> None:
    sync(incoming)
    incoming.rename(target)
    sync(target.parent)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _write(path: Path, content: Mapping[str, Any]) -> None:
    write_atomically(path, json.dumps(content).encode(), 0o600)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _locked(folder: Path) -> int:
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise ServingError(
            "S004", f"another server uses {folder}", help="stop it, or take another folder: --data"
        ) from error
    return handle


def _claim(folder: Path, model: str) -> None:
    file = folder / "model"
    if not file.exists():
        write_atomically(file, model.encode())
    elif file.read_text() != model:
        raise ServingError(
            "S004",
            f"{folder} holds what clients of another model sent",
            help="take another folder: --data",
        )
