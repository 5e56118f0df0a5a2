"""Accepted requests: a bounded queue, and the evaluators that work it off."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Literal

from lutra.ir.errors import Error, ServingError
from lutra.serving.evaluator import Evaluator
from lutra.serving.limits import Limits
from lutra.serving.metrics import Metrics
from lutra.serving.refusal import refuse
from lutra.serving.store import Store, StoredRequest

log = logging.getLogger(__name__)

State = Literal["queued", "running", "done", "failed"]

ATTEMPTS = 2
"""A request during whose evaluation the server ended so often is not begun again."""

GUESS_SECONDS = 5.0
"""What a request is thought to take before any has ended."""

PAUSE_SECONDS = 5.0
"""Between attempts to start an evaluator that does not start."""


@dataclass
class Active:
    """A request and how far it is."""

    stored: StoredRequest
    state: State
    done: int = 0
    began: float | None = None
    ended: float | None = None
    error: ServingError | None = None
    evaluator: Evaluator | None = None
    cancelled: bool = False

    @property
    def seconds(self) -> float:
        """How long it has run."""
        if self.began is None:
            return 0.0
        return (self.ended or time.monotonic()) - self.began


class Requests:
    """All requests of a server, by id; those that did not end before a restart are begun again."""

    def __init__(
        self, store: Store, limits: Limits, metrics: Metrics, evaluators: list[Evaluator]
    ) -> None:
        self.evaluators = evaluators
        self._store, self._limits, self._metrics = store, limits, metrics
        self._queue: deque[Active] = deque()
        self._arrived = asyncio.Condition()
        self._reserved: dict[str, int] = {}
        self._mean = 0.0
        self._tasks: list[asyncio.Task[None]] = []
        self.active = {
            stored.id: self._restored(stored)
            for stored in sorted(store.requests.values(), key=lambda stored: stored.created)
        }

    def _restored(self, stored: StoredRequest) -> Active:
        error = self._store.error_of(stored.id)
        if self._store.results_of(stored.id).exists():
            return Active(stored, "done", done=stored.samples)
        if error is None and stored.attempts >= ATTEMPTS:
            error = ServingError("S003", "the server ended while it computed this, twice")
            self._store.fail(stored.id, error)
        if error is not None:
            return Active(stored, "failed", error=error)
        request = Active(stored, "queued")
        self._queue.append(request)
        return request

    # --- life -----------------------------------------------------------------------------------
    def start(self) -> None:
        """Begin to work, in tasks of the running loop."""
        self._tasks = [asyncio.create_task(self._work(each)) for each in self.evaluators]

    async def stop(self) -> None:
        """Stop; what runs will be begun again by the next server."""
        for task in self._tasks:
            task.cancel()
        for request in self.active.values():
            if request.state == "running" and request.stored.id in self._store.requests:
                self._store.unbegin(request.stored)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(each.stop() for each in self.evaluators))

    # --- asking ---------------------------------------------------------------------------------
    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def running(self) -> int:
        return sum(request.state == "running" for request in self.active.values())

    def position(self, request: Active) -> int:
        """How many requests come before this one."""
        return self._queue.index(request) if request in self._queue else 0

    def remaining(self, request: Active) -> float:
        """Seconds that a request is expected to need still."""
        mean = self._mean or GUESS_SECONDS
        if request.state == "running":
            return max(0.0, mean * request.stored.samples - request.seconds)
        if request.state == "queued":
            before = list(self._queue)[: self.position(request) + 1]
            samples = sum(each.stored.samples for each in before)
            return mean * samples / len(self.evaluators)
        return 0.0

    @contextmanager
    def reserved(self, client: str) -> Iterator[None]:
        """A place in the queue while inputs arrive. Refuses with 429 or 503 where there is none."""
        own = self._open(client) + self._reserved.get(client, 0)
        everyone = self.waiting + self.running + sum(self._reserved.values())
        wait = (self._mean or GUESS_SECONDS) * max(1, everyone) / len(self.evaluators)
        if own >= self._limits.client_queue:
            raise refuse(
                429, f"{own} requests of this client are open", "wait for some", min(wait, 60)
            )
        if everyone >= self._limits.queue:
            raise refuse(503, f"{everyone} requests are waiting", "try again later", min(wait, 60))
        self._reserved[client] = self._reserved.get(client, 0) + 1
        try:
            yield
        finally:
            self._reserved[client] -= 1
            if not self._reserved[client]:
                del self._reserved[client]

    def _open(self, client: str) -> int:
        return sum(
            request.state in ("queued", "running") and request.stored.client == client
            for request in self.active.values()
        )

    # --- changing -------------------------------------------------------------------------------
    async def submit(self, stored: StoredRequest) -> Active:
        """Put a request that the store keeps at the end of the queue."""
        request = self.active[stored.id] = Active(stored, "queued")
        async with self._arrived:
            self._queue.append(request)
            self._arrived.notify()
        return request

    def drop(self, id: str) -> None:
        """Forget a request: it does not run, or no longer, and its results are deleted."""
        request = self.active.pop(id)
        request.cancelled = True
        with suppress(ValueError):
            self._queue.remove(request)
        if request.evaluator is not None:
            request.evaluator.kill()
        if id in self._store.requests:
            self._store.drop_request(id)

    def drop_client(self, id: str) -> None:
        """Delete a client's keys and forget its requests."""
        for request in [r for r in self.active.values() if r.stored.client == id]:
            self.drop(request.stored.id)
        self._store.drop_client(id)

    def expire(self) -> None:
        """Delete what is older than the limits say."""
        now = time.time()
        for client in list(self._store.clients):
            if now - self._store.heard_of(client) > self._limits.key_seconds:
                self.drop_client(client)
        for request in list(self.active.values()):
            ended = request.state in ("done", "failed")
            if ended and now - request.stored.created > self._limits.result_seconds:
                self.drop(request.stored.id)

    # --- working --------------------------------------------------------------------------------
    async def _work(self, evaluator: Evaluator) -> None:
        while True:
            try:
                await evaluator.start()
            except (ServingError, OSError, asyncio.TimeoutError) as error:
                log.error("the evaluator does not start: %s", error)
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            request = await self._next()
            request.evaluator = evaluator
            try:
                await self._evaluate(request, evaluator)
            except Exception as error:  # one request must not stop the others
                log.exception("request %s", request.stored.id)
                self._ended(request, ServingError("S003", f"the server failed: {error}"))
            finally:
                request.evaluator = None

    async def _next(self) -> Active:
        async with self._arrived:
            await self._arrived.wait_for(lambda: self._queue)
            request = self._queue.popleft()
        request.state, request.began = "running", time.monotonic()
        return request

    async def _evaluate(self, request: Active, evaluator: Evaluator) -> None:
        stored, store = request.stored, self._store
        store.begin(stored)

        def progress(done: int, total: int) -> None:
            request.done = done

        try:
            await evaluator.run(
                store.keys_of(stored.client),
                store.inputs_of(stored.id),
                store.results_of(stored.id),
                progress,
                self._limits.run_seconds,
            )
        except Error as error:
            failure = ServingError(error.code, error.message, help=error.help)
            self._ended(request, failure)
        else:
            self._ended(request, None)
            each = request.seconds / max(1, stored.samples)
            self._mean = each if not self._mean else 0.8 * self._mean + 0.2 * each

    def _ended(self, request: Active, error: ServingError | None) -> None:
        if request.cancelled:
            return
        request.ended = time.monotonic()
        request.error = error
        if error is not None:
            with suppress(Error):  # a full disk: the reason is known until the server ends
                self._store.fail(request.stored.id, error)
        request.state = "done" if error is None else "failed"
        self._metrics.evaluated(request.state, request.seconds)
