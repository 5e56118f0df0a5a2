"""Uploads: streamed to a file, bounded in size and in pauses, and gone where they are cut."""

from __future__ import annotations

import asyncio
from pathlib import Path

from starlette.requests import Request

from lutra.serving.refusal import Refusal, refuse
from lutra.serving.store import sync


async def receive(request: Request, target: Path, limit: int, stall: float) -> int:
    """Write a request's body to a new file; its size.

    limit: bytes that it may have. stall: seconds that it may pause.

    Refuses with 413 what is too large, 411 and 400 for a length that is none or is not kept, 408
    what stalls. ClientDisconnect where the client goes away.
    """
    announced = request.headers.get("content-length")
    if announced is not None and not announced.isascii():
        raise refuse(400, "Content-Length is no number", "send a number of bytes")
    if announced is not None and announced.isdigit() and int(announced) > limit:
        raise _too_large(limit)
    size = 0
    body = request.stream()
    with target.open("xb") as file:
        while True:
            try:
                chunk = await asyncio.wait_for(anext(body, None), stall)
            except (TimeoutError, asyncio.TimeoutError) as error:  # two classes up to Python 3.10
                raise refuse(408, f"nothing came for {stall:g} s", "send it again") from error
            if chunk is None:
                break
            size += len(chunk)
            if size > limit:
                raise _too_large(limit)
            try:
                file.write(chunk)
            except OSError as error:
                raise _no_room() from error
    await asyncio.to_thread(sync, target)
    return size


def _too_large(limit: int) -> Refusal:
    return refuse(413, f"the body has more than {limit} bytes", "send fewer samples at once")


def _no_room() -> Refusal:
    return refuse(507, "the server's disk is full", "try again later", 60)
