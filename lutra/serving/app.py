"""A server's HTTP interface; `/docs` and `/openapi.json` describe it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import lutra
from lutra.ir.errors import Error, ServingError
from lutra.serving import schema
from lutra.serving.metrics import Metrics
from lutra.serving.refusal import Refusal
from lutra.serving.requests import Active
from lutra.serving.service import Service, Settings

MESSAGE = "application/octet-stream"

CLOSED = 499
"""The status that is counted for clients that went away; nobody receives it."""

bearer = HTTPBearer(auto_error=False, description="the token that came with the keys' upload")


def create_app(settings: Settings) -> FastAPI:
    """The application. Errors: A001 to A004, I005, S004 before anything runs."""
    service = Service(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = FastAPI(
        title="Lutra",
        description="Computes one model on encrypted data, for clients that keep their keys.",
        version=lutra.__version__,
        lifespan=lifespan,
    )
    _handle(app, service)
    _about(app, service)
    _keys(app, service)
    _requests(app, service)
    return app


def _handle(app: FastAPI, service: Service) -> None:
    """Errors become problems that say what to do; all answers are counted."""

    @app.exception_handler(Refusal)
    async def refused(request: Request, refusal: Refusal) -> JSONResponse:
        return _problem(refusal.status, refusal.error, refusal.headers)

    @app.exception_handler(ClientDisconnect)
    async def closed(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=CLOSED)

    @app.exception_handler(OSError)
    async def failed(request: Request, error: OSError) -> JSONResponse:
        message = f"the server's disk fails: {error.strerror or error}"
        return _problem(507, ServingError("S004", message), {"Retry-After": "60"})

    @app.exception_handler(Error)
    async def unwritten(request: Request, error: Error) -> JSONResponse:
        return _problem(507, ServingError("S004", error.message), {"Retry-After": "60"})

    app.add_middleware(Counted, metrics=service.metrics)


class Counted:
    """Counts answers by status."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.answered(message["status"])
            await send(message)

        await self._app(scope, receive, counted)


def _problem(status: int, error: ServingError, headers: dict[str, str]) -> JSONResponse:
    problem = schema.Problem(code=error.code, message=error.message, help=error.help)
    return JSONResponse(problem.model_dump(), status, headers)


def _about(app: FastAPI, service: Service) -> None:
    requests = service.requests

    @app.get("/health", responses={503: {"model": schema.Health}})
    async def health(response: Response) -> schema.Health:
        """Whether the server takes requests and computes."""
        response.status_code = 200 if service.ready else 503
        return schema.Health(
            status="ok" if service.ready else "starting",
            evaluators=service.ready,
            waiting=requests.waiting,
            running=requests.running,
        )

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Figures in Prometheus' text format."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")

    @app.get("/v1/model", response_model_exclude_unset=True)
    async def model() -> schema.Model:
        """What the model takes and gives."""
        manifest = service.artifact.manifest
        return schema.Model(
            model=service.artifact.digest,
            lutra=lutra.__version__,
            inputs=manifest["inputs"],
            outputs=manifest["outputs"],
            limits=asdict(service.limits),
        )

    @app.get("/v1/client", response_class=Response)
    async def client_part() -> Response:
        """The client's part of the model, for `lutra.Client`."""
        return Response(service.client_part, media_type="application/zip")


def _token(
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> str | None:
    return None if credentials is None else credentials.credentials


Token = Annotated[str | None, Depends(_token)]


def _keys(app: FastAPI, service: Service) -> None:
    @app.post(
        "/v1/keys",
        status_code=201,
        openapi_extra=schema.BINARY,
        responses=schema.answers(400, 408, 409, 413, 503, 507),
    )
    async def upload_keys(request: Request) -> schema.Registered:
        """Upload evaluation keys (`Client.evaluation_keys`), for a token."""
        client, token = await service.register(request)
        expires = service.expires(client)
        return schema.Registered(client=client.id, token=token, keys=client.keys, expires=expires)

    @app.get("/v1/keys", responses=schema.answers(401))
    async def show_keys(token: Token) -> schema.Keys:
        """What is kept of this client's keys."""
        client = service.client(token)
        return schema.Keys(
            client=client.id, keys=client.keys, size=client.size, expires=service.expires(client)
        )

    @app.delete("/v1/keys", status_code=204, responses=schema.answers(401))
    async def delete_keys(token: Token) -> None:
        """Delete this client's keys, its requests and their results."""
        service.requests.drop_client(service.client(token).id)


def _requests(app: FastAPI, service: Service) -> None:
    def progress(request: Active) -> schema.Progress:
        return _progress(service, request)

    @app.post(
        "/v1/requests",
        status_code=202,
        openapi_extra=schema.BINARY,
        responses=schema.answers(400, 401, 408, 409, 413, 429, 503, 507),
    )
    async def submit(request: Request, response: Response, token: Token) -> schema.Progress:
        """Upload encrypted inputs (`Client.encrypt`), to be computed with this client's keys."""
        accepted = await service.submit(service.client(token), request)
        response.headers["Location"] = f"/v1/requests/{accepted.stored.id}"
        return progress(accepted)

    @app.get("/v1/requests", responses=schema.answers(401))
    async def list_requests(token: Token) -> list[schema.Progress]:
        """This client's requests."""
        client = service.client(token)
        return [
            progress(request)
            for request in service.requests.active.values()
            if request.stored.client == client.id
        ]

    @app.get("/v1/requests/{id}", responses=schema.answers(401, 404))
    async def show_request(id: str, token: Token) -> schema.Progress:
        """How far a request is."""
        return progress(service.active(service.client(token), id))

    @app.get(
        "/v1/requests/{id}/results",
        response_class=FileResponse,
        responses=schema.answers(401, 404, 409, 422),
    )
    async def results(id: str, token: Token) -> FileResponse:
        """The encrypted results, for `Client.decrypt`."""
        path = service.results(service.active(service.client(token), id))
        return FileResponse(path, media_type=MESSAGE)

    @app.delete("/v1/requests/{id}", status_code=204, responses=schema.answers(401, 404))
    async def cancel(id: str, token: Token) -> None:
        """Stop a request, or delete its results."""
        service.requests.drop(service.active(service.client(token), id).stored.id)


def _progress(service: Service, request: Active) -> schema.Progress:
    error: dict[str, Any] | None = None
    if request.error is not None:
        found = request.error
        error = {"code": found.code, "message": found.message, "help": found.help}
    return schema.Progress(
        id=request.stored.id,
        state=request.state,
        samples=request.stored.samples,
        done=request.stored.samples if request.state == "done" else request.done,
        position=service.requests.position(request),
        seconds=request.seconds,
        remaining=service.requests.remaining(request),
        error=error,
    )
