"""`lutra serve` and `lutra demo`."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lutra.ir.errors import InputError
from lutra.serving.limits import Limits

if TYPE_CHECKING:
    from fastapi import FastAPI

DEFAULTS = Limits()

MB = 1 << 20


def serve(
    model: Annotated[Path, typer.Argument(help="a model that `lutra compile` wrote")],
    data: Annotated[
        Path, typer.Option("--data", help="a folder for what clients send; nobody else may read it")
    ] = Path("lutra-data"),
    host: Annotated[str, typer.Option(help="the address to listen at")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="the port; 0 for any that is free")] = 8471,
    workers: Annotated[int, typer.Option(min=1, help="processes that evaluate")] = 1,
    threads: Annotated[int | None, typer.Option(min=1, help="of each; all cores without")] = None,
    key_mb: Annotated[
        float, typer.Option(help="size of a client's keys, in MB")
    ] = DEFAULTS.key_bytes / MB,
    store_mb: Annotated[
        float, typer.Option(help="size of all clients' keys, in MB")
    ] = DEFAULTS.store_bytes / MB,
    input_mb: Annotated[float, typer.Option(help="size of a request, in MB")] = DEFAULTS.input_bytes
    / MB,
    clients: Annotated[int, typer.Option(help="clients at once")] = DEFAULTS.clients,
    queue: Annotated[int, typer.Option(help="open requests at once")] = DEFAULTS.queue,
    client_queue: Annotated[int, typer.Option(help="of one client")] = DEFAULTS.client_queue,
    key_hours: Annotated[
        float, typer.Option(help="hours that unused keys are kept")
    ] = DEFAULTS.key_seconds / 3600,
    result_hours: Annotated[
        float, typer.Option(help="hours that results are kept")
    ] = DEFAULTS.result_seconds / 3600,
    run_seconds: Annotated[
        float, typer.Option(help="how long a request may run")
    ] = DEFAULTS.run_seconds,
    stall_seconds: Annotated[
        float, typer.Option(help="how long an upload may pause")
    ] = DEFAULTS.stall_seconds,
    certificate: Annotated[Path | None, typer.Option(help="for TLS: its file, PEM")] = None,
    private_key: Annotated[Path | None, typer.Option(help="for TLS: its file, PEM")] = None,
) -> None:
    """Compute a model on encrypted data, for clients over HTTP."""
    _needs("fastapi", "uvicorn", "prometheus_client")
    from lutra.serving.app import create_app
    from lutra.serving.service import Settings

    limits = Limits(
        key_bytes=int(key_mb * MB),
        store_bytes=int(store_mb * MB),
        input_bytes=int(input_mb * MB),
        clients=clients,
        queue=queue,
        client_queue=client_queue,
        key_seconds=key_hours * 3600,
        result_seconds=result_hours * 3600,
        run_seconds=run_seconds,
        stall_seconds=stall_seconds,
    )
    each = threads or max(1, (os.cpu_count() or 1) // workers)
    app = create_app(Settings(model, data, workers, each, limits))
    run_app(app, host, port, certificate=certificate, private_key=private_key)


def run_app(
    app: FastAPI,
    host: str,
    port: int,
    *,
    certificate: Path | None = None,
    private_key: Path | None = None,
) -> None:
    """Serve until the process is told to end. Prints the address once it listens."""
    import uvicorn

    listener = socket.create_server((host, port), family=_family(host), backlog=128)
    scheme = "http" if certificate is None else "https"
    found: Any = listener.getsockname()
    shown = f"[{found[0]}]" if ":" in found[0] else found[0]
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        ssl_certfile=certificate,
        ssl_keyfile=private_key,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=5,
        server_header=False,
    )
    typer.echo(f"listening at {scheme}://{shown}:{found[1]}")
    uvicorn.Server(config).run(sockets=[listener])


CONNECTIONS = 200
"""Connections beyond these are answered with 503 at once."""


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _needs(*packages: str) -> None:
    """Error I008 where a package is not installed."""
    from importlib.util import find_spec

    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise InputError(
            "I008",
            f"not installed: {', '.join(missing)}",
            help="pip install 'lutra[serve]'",
        )
