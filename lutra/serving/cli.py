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

CONNECTIONS = 200
"""Connections beyond these are answered with 503 at once."""


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


def demo(
    server: Annotated[str, typer.Argument(help="the address of a `lutra serve`")],
    keys: Annotated[
        Path | None, typer.Option(help="a file of keys, made if there is none; new keys without")
    ] = None,
    passphrase: Annotated[
        bool, typer.Option("--passphrase", help="seal that file: asks for the passphrase")
    ] = False,
    port: Annotated[int, typer.Option(help="of the page; 0 for any that is free")] = 8472,
    ink: Annotated[float, typer.Option(help="what the model reads in a pixel full of ink")] = 1.0,
) -> None:
    """A page on which to draw what the server classifies without seeing it."""
    _needs("fastapi", "uvicorn", "httpx")
    from lutra.client import Client
    from lutra.serving.demo import create_page
    from lutra.serving.remote import Remote

    word = typer.prompt("Passphrase", hide_input=True) if passphrase else None
    with Remote(server) as remote:
        client = Client(remote.client_part())
        if keys is not None and keys.exists():
            client.load_keys(keys, word)
        else:
            typer.echo("generating keys")
            client.keygen()
            if keys is not None:
                client.save_keys(keys, word)
        app = create_page(client, remote, ink)
        typer.echo("uploading the evaluation keys")
        remote.register(client)
        run_app(app, "127.0.0.1", port)


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
            help=f"pip install {' '.join(missing)}",
        )
