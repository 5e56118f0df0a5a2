"""Samples spread over the workers of an executor.

A worker gets what a server of the circuit needs and the evaluation keys once, and keeps them; with
each sample it gets ciphertexts. Encryption and decryption stay with the caller, who alone has the
secret keys.
"""

from __future__ import annotations

import hashlib
import itertools
import pickle
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    wait,
)
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lutra.backends.concrete.specification import server
from lutra.backends.concrete.transport import Ciphertexts
from lutra.ir.errors import BackendError, Error

WINDOW = 256
"""Samples that are with an executor at once."""
ATTEMPTS = 3
"""How often samples are handed out anew after the workers that had them have ended."""
KEPT = 2
"""Circuits, with their keys, that a worker keeps."""


@dataclass(frozen=True)
class Parcel:
    """All that a worker needs to know of a circuit. Nothing of it is secret.

    files: the circuit's `specification`. keys: the client's evaluation keys.
    """

    files: Mapping[str, bytes]
    keys: bytes

    @cached_property
    def content(self) -> bytes:
        """What travels. Executors send calls as pickles, too."""
        return pickle.dumps((self.files, self.keys))

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


class Worker:
    """A circuit, compiled anew, and the evaluation keys of one client.

    Error A004 where the caller has another version of Concrete.
    """

    def __init__(self, parcel: Parcel) -> None:
        self._server = server(parcel.files)
        self._keys = self._server.keys(parcel.keys)

    def run(self, sample: Sequence[bytes]) -> list[bytes]:
        return self._server.run(self._server.received(sample), self._keys).to_bytes()


_workers: dict[str, Worker] = {}
"""What this process can compute, by the digests of parcels, the latest last."""
_lock = threading.Lock()


def evaluate(digest: str, place: Path | bytes, sample: Sequence[bytes]) -> list[bytes]:
    """The server's part for one sample, in the process of a worker.

    place: where the parcel of this digest is, or its content; read where it is not known yet.
    """
    return _worker(digest, place).run(sample)


def _worker(digest: str, place: Path | bytes) -> Worker:
    with _lock:
        if digest not in _workers:
            content = place if isinstance(place, bytes) else place.read_bytes()
            if hashlib.sha256(content).hexdigest() != digest:
                raise BackendError("B006", "a worker got other keys than the caller sent")
            while len(_workers) >= KEPT:
                del _workers[next(iter(_workers))]
            _workers[digest] = Worker(Parcel(*pickle.loads(content)))
        return _workers[digest]


def evaluated(
    parcel: Parcel, samples: Iterable[Ciphertexts], executor: Executor
) -> Iterator[tuple[int, Ciphertexts]]:
    """(number, results) of every sample, once each, in the order in which they are ready.

    Samples whose worker has ended are handed out again. Error B006 where no worker is left, or
    where one fails otherwise.
    """
    waiting: Iterator[tuple[int, list[bytes]]]
    waiting = ((number, sample.to_bytes()) for number, sample in enumerate(samples))
    for attempt in range(ATTEMPTS + 1):
        left: dict[int, list[bytes]] = {}
        try:
            yield from _answers(parcel, waiting, executor, left)
        except (BrokenExecutor, CancelledError) as error:
            if attempt == ATTEMPTS:
                raise _failure("workers end before they answer", error) from error
            waiting = itertools.chain(left.items(), waiting)
        else:
            return


def _answers(
    parcel: Parcel,
    waiting: Iterator[tuple[int, list[bytes]]],
    executor: Executor,
    left: dict[int, list[bytes]],
) -> Iterator[tuple[int, Ciphertexts]]:
    """Answers as they come; `left` holds the samples that were taken and not answered."""
    pending: dict[Future[list[bytes]], int] = {}

    def ready() -> Iterator[tuple[int, Ciphertexts]]:
        for future in wait(pending, return_when=FIRST_COMPLETED).done:
            answer = Ciphertexts.from_bytes(_result(future))
            number = pending.pop(future)
            del left[number]
            yield number, answer

    with _delivered(parcel, executor) as place:
        try:
            for number, sample in waiting:
                left[number] = sample
                pending[executor.submit(evaluate, parcel.digest, place, sample)] = number
                if len(pending) >= WINDOW:
                    yield from ready()
            while pending:
                yield from ready()
        finally:
            for future in pending:
                future.cancel()


def _result(future: Future[list[bytes]]) -> list[bytes]:
    try:
        return future.result()
    except (Error, BrokenExecutor, CancelledError):
        raise
    except Exception as error:  # whatever an executor or a worker raises
        raise _failure("a worker failed", error) from error


def _failure(what: str, error: BaseException) -> BackendError:
    return BackendError(
        "B006",
        f"{what}: {type(error).__name__}: {error}",
        help="memory is the usual reason: take fewer workers, or leave out the executor",
    )


@contextmanager
def _delivered(parcel: Parcel, executor: Executor) -> Iterator[Any]:
    """Where workers find the parcel: a file, or what a Dask cluster keeps on each worker."""
    if type(executor).__module__.startswith("distributed."):
        client: Any = executor._client  # type: ignore[attr-defined]  # it tells no other way
        yield client.scatter(parcel.content, broadcast=True)
        return
    with tempfile.TemporaryDirectory(prefix="lutra-") as folder:
        place = Path(folder, "parcel")
        place.write_bytes(parcel.content)
        yield place
