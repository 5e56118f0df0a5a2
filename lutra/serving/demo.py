"""`lutra demo`: a page on which a person draws, and the local process that holds its keys.

The page talks to this process alone, which encrypts what was drawn, has the server compute with it,
and decrypts what comes back. The server sees ciphertexts; the page shows what they look like.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from importlib.resources import files
from threading import Lock, Thread
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Header, HTTPException
from fastapi.responses import HTMLResponse
from pydantic import BaseModel
from starlette.middleware.trustedhost import TrustedHostMiddleware

from lutra.client import Client
from lutra.ir.errors import Error, InputError
from lutra.message import Message
from lutra.serving.remote import Remote

HOSTS = ["127.0.0.1", "localhost", "[::1]"]
"""Names that a browser on this machine may use: other sites' names may point here, too."""

KEPT = 50
"""Drawings that are remembered."""

SHOWN = 4096
"""Bytes of ciphertexts that the page shows."""


Token = Annotated[str, Header(alias="X-Lutra")]


class Drawing(BaseModel):
    """Ink of each pixel, from 0 to 1, row by row."""

    pixels: list[list[float]]


@dataclass
class Job:
    """A drawing on its way."""

    inputs: bytes
    state: dict[str, Any] = field(default_factory=lambda: {"state": "encrypted"})
    results: bytes = b""
    outputs: list[float] | None = None
    error: str = ""

    def shown(self) -> dict[str, Any]:
        return {
            **self.state,
            "error": self.error,
            "sent": _shown(self.inputs),
            "received": _shown(self.results),
            "outputs": self.outputs,
        }


def _shown(message: bytes) -> dict[str, Any]:
    """The size of a message, and some bytes of its ciphertexts."""
    content = Message(message).content() if message else b""
    return {"size": len(message), "bytes": base64.b64encode(content[:SHOWN]).decode()}


class Demo:
    """Holds the keys, and what was drawn.

    ink: what the model reads where a pixel is full of ink; 0 where there is none.

    Error I005 where the model takes no image of one channel.
    """

    def __init__(self, client: Client, remote: Remote, ink: float = 1.0) -> None:
        self._client, self._remote, self._ink = client, remote, ink
        self._lock = Lock()  # native code takes one call at a time
        self.jobs: OrderedDict[str, Job] = OrderedDict()
        self.port = client.signature.inputs[0]
        shape = self.port.shape
        square = len(shape) >= 2 and int(np.prod(shape)) == int(np.prod(shape[-2:]))
        if len(client.signature.inputs) > 1 or not square or min(shape[-2:]) < 2:
            raise InputError(
                "I005",
                f"the page draws images of one channel, the model takes {client.signature}",
                help="use lutra.Client and lutra.Remote",
            )

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the image."""
        rows, columns = self.port.shape[-2:]
        return rows, columns

    def encrypt(self, drawing: Drawing) -> str:
        """The id of the job. Errors I001 to I003."""
        pixels = np.array(drawing.pixels, np.float64)
        if pixels.shape != self.size:
            raise InputError("I001", f"the drawing has shape {pixels.shape}, not {self.size}")
        x = (pixels * self._ink).astype(self.port.dtype).reshape(self.port.shape)
        with self._lock:
            job = Job(self._client.encrypt(x))
        id = secrets.token_urlsafe(8)
        self.jobs[id] = job
        while len(self.jobs) > KEPT:
            self.jobs.popitem(last=False)
        return id

    def send(self, id: str) -> None:
        """Have the server compute, and decrypt what it gives; `jobs` tells how far that is."""
        job = self.jobs[id]
        if job.state["state"] == "encrypted":
            job.state = {"state": "sent"}
            Thread(target=self._run, args=(job,), daemon=True).start()

    def _run(self, job: Job) -> None:
        def progress(state: dict[str, Any]) -> None:
            # `done` is for what is decrypted, too
            job.state = {**state, "state": "running"} if state["state"] == "done" else state

        try:
            job.results = self._remote.run(job.inputs, progress)
            with self._lock:
                outputs = self._client.decrypt(job.results)
            first = outputs[0] if isinstance(outputs, tuple) else outputs
            job.outputs = [float(number) for number in np.ravel(first)]
            job.state = {"state": "done"}
        except Error as error:
            job.error = error.render()
            job.state = {"state": "failed"}


def create_page(client: Client, remote: Remote, ink: float = 1.0) -> FastAPI:
    """The local process' application; when it ends, the server forgets the keys.

    Error I005 where the model takes no image.
    """
    demo = Demo(client, remote, ink)
    secret = secrets.token_urlsafe(16)
    rows, columns = demo.size
    about = {
        "secret": secret,
        "rows": rows,
        "columns": columns,
        "server": remote.url,
        "model": client.model[:12],
        "keys": client.keys[:12],
    }
    template = files("lutra.serving").joinpath("page.html").read_text(encoding="utf-8")
    page = template.replace("{{about}}", json.dumps(about).replace("<", "\\u003c"))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        with suppress(Error):  # the server may have ended before
            await asyncio.to_thread(remote.forget)

    app = FastAPI(title="Lutra demo", openapi_url=None, lifespan=lifespan)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=HOSTS)

    def job_of(id: str, token: str) -> Job:
        check(token)
        if id not in demo.jobs:
            raise HTTPException(404, "this drawing is forgotten")
        return demo.jobs[id]

    def check(token: str) -> None:
        """Only the page knows the token: other sites' pages in the same browser do not."""
        if not secrets.compare_digest(token.encode(), secret.encode()):
            raise HTTPException(403, "not from the page: load it again")

    @app.get("/", response_class=HTMLResponse)
    def show() -> HTMLResponse:
        policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
        policy += "connect-src 'self'; img-src data:; frame-ancestors 'none'"
        return HTMLResponse(page, headers={"Content-Security-Policy": policy})

    @app.post("/drawings")
    def encrypt(drawing: Drawing, token: Token = "") -> dict[str, Any]:
        check(token)
        try:
            id = demo.encrypt(drawing)
        except Error as error:
            raise HTTPException(422, error.render()) from error
        return {"id": id, **demo.jobs[id].shown()}

    @app.post("/drawings/{id}/send")
    def send(id: str, token: Token = "") -> dict[str, Any]:
        job = job_of(id, token)
        demo.send(id)
        return job.shown()

    @app.get("/drawings/{id}")
    def state(id: str, token: Token = "") -> dict[str, Any]:
        return job_of(id, token).shown()

    return app
