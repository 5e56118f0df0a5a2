"""What a server does, apart from HTTP: keys in, requests in, results out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from starlette.requests import ClientDisconnect, Request

from lutra.artifact import Artifact
from lutra.ir.errors import ServingError
from lutra.message import Header, Kind, Message
from lutra.serving.evaluator import Evaluator
from lutra.serving.limits import Limits
from lutra.serving.metrics import Metrics
from lutra.serving.refusal import Refusal, refuse
from lutra.serving.requests import Active, Requests
from lutra.serving.store import Store, StoredClient
from lutra.serving.uploads import receive

SWEEP_SECONDS = 10.0
"""Between two looks for what has expired."""


@dataclass(frozen=True)
class Settings:
    """What a server is started with.

    artifact: the model's file. data: the folder for what clients send.
    workers: processes that evaluate. threads: of each.
    """

    artifact: Path
    data: Path
    workers: int = 1
    threads: int = 1
    limits: Limits = field(default_factory=Limits)


class Service:
    """One model, served. Errors: A001 to A004, I005; S004 where the folder is another's."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.limits = settings.limits
        self.artifact = Artifact.read(settings.artifact)
        self.client_part = self.artifact.client_part()
        self.metrics = Metrics()
        self.store = Store(settings.data, self.artifact.digest)
        evaluators = [
            Evaluator(settings.artifact, settings.threads, self.store.scratch(number))
            for number in range(settings.workers)
        ]
        self.requests = Requests(self.store, self.limits, self.metrics, evaluators)
        self._uploads = 0
        self._uploading = 0
        for name, meaning, value in (
            ("queue_length", "Requests that wait", lambda: self.requests.waiting),
            ("running", "Requests that run", lambda: self.requests.running),
            ("clients", "Clients whose keys are kept", lambda: len(self.store.clients)),
            ("key_bytes", "Size of the keys that are kept", lambda: self.store.key_bytes),
            ("evaluators", "Processes that are ready", lambda: self.ready),
            ("evaluator_restarts", "Processes that ended untold", lambda: self.restarts),
        ):
            self.metrics.watch(name, meaning, value)

    @property
    def ready(self) -> int:
        return sum(each.ready for each in self.requests.evaluators)

    @property
    def restarts(self) -> int:
        return sum(each.restarts for each in self.requests.evaluators)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Evaluators work and old things expire while this lasts."""
        self.requests.start()
        sweeper = asyncio.create_task(self._sweep())
        try:
            yield
        finally:
            sweeper.cancel()
            await self.requests.stop()
            self.store.close()

    async def _sweep(self) -> None:
        while True:
            self.requests.expire()
            await asyncio.sleep(SWEEP_SECONDS)

    # --- keys -----------------------------------------------------------------------------------
    async def register(self, request: Request) -> tuple[StoredClient, str]:
        """Keep a new client's evaluation keys; the client, and the token to be told to it."""
        if self._uploads >= self.limits.uploads:
            raise refuse(503, f"{self._uploads} uploads are going on", "try again later", 5)
        if len(self.store.clients) + self._uploads >= self.limits.clients:
            raise refuse(503, "as many clients as may be have keys here", "try again later", 60)
        room = self.limits.store_bytes - self.store.key_bytes - self._uploading
        announced = request.headers.get("content-length", "")
        claim = int(announced) if announced.isdecimal() else self.limits.key_bytes
        if min(claim, self.limits.key_bytes) > room:
            raise refuse(507, "there is no room for more keys", "try again later", 60)
        claim = min(claim, self.limits.key_bytes)
        self._uploads += 1
        self._uploading += claim
        try:
            async with self._incoming(request, "keys", self.limits.key_bytes) as (folder, header):
                size = (folder / "keys").stat().st_size
                return self.store.keep_client(folder, header.keys, size)
        finally:
            self._uploads -= 1
            self._uploading -= claim

    def client(self, token: str | None) -> StoredClient:
        """The client that shows a token. Refuses with 401 where there is none."""
        client = self.store.client_of(token) if token else None
        if client is None:
            raise refuse(401, "the token is missing or unknown", "upload evaluation keys for one")
        return client

    def expires(self, client: StoredClient) -> float:
        return self.store.heard_of(client.id) + self.limits.key_seconds

    # --- requests -------------------------------------------------------------------------------
    async def submit(self, client: StoredClient, request: Request) -> Active:
        """Take a client's encrypted inputs and put them into the queue."""
        with self.requests.reserved(client.id):
            limit = self.limits.input_bytes
            async with self._incoming(request, "inputs", limit) as (folder, header):
                if client.id not in self.store.clients:
                    raise refuse(401, "the keys were deleted meanwhile", "upload them again")
                _check(header, "inputs", self.artifact.digest, client.keys)
                stored = self.store.keep_request(folder, client.id, header.samples)
            return await self.requests.submit(stored)

    def active(self, client: StoredClient, id: str) -> Active:
        """A client's request. Refuses with 404 where it has none of that id."""
        request = self.requests.active.get(id)
        if request is None or request.stored.client != client.id:
            raise refuse(404, "this client has no such request", "it may have expired")
        return request

    def results(self, request: Active) -> Path:
        """The file with a request's results. Refuses with 409 where there are none yet."""
        if request.error is not None:
            raise Refusal(422, request.error)
        if request.state != "done":
            wait = min(60.0, self.requests.remaining(request))
            raise refuse(409, f"the request is {request.state}", "ask again", wait)
        return self.store.results_of(request.stored.id)

    @asynccontextmanager
    async def _incoming(
        self, request: Request, kind: Kind, limit: int
    ) -> AsyncIterator[tuple[Path, Header]]:
        """A folder with an upload as the file `kind`, and the header of the message that it is.

        Whatever happens, the folder is kept by then or gone afterwards.
        """
        folder = self.store.new()
        try:
            size = await receive(request, folder / kind, limit, self.limits.stall_seconds)
            header = await asyncio.to_thread(_header, folder / kind)
            _check(header, kind, self.artifact.digest)
            self.metrics.received(kind, size)
            yield folder, header
        except ClientDisconnect:
            self.metrics.cut()
            raise
        finally:
            self.store.discard(folder)


def _header(path: Path) -> Header:
    try:
        return Message(path).header
    except ServingError as error:
        raise Refusal(400, error) from error


def _check(header: Header, kind: Kind, model: str, keys: str | None = None) -> None:
    try:
        header.check(kind, model, keys)
    except ServingError as error:
        raise Refusal(400 if error.code == "S001" else 409, error) from error
