"""What a server answers, for its OpenAPI description."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from lutra.serving.requests import State


class Health(BaseModel):
    status: str = Field(description="`ok`, or `starting` while no evaluator is ready")
    evaluators: int = Field(description="processes that are ready")
    waiting: int = Field(description="requests in the queue")
    running: int


class Port(BaseModel):
    name: str
    shape: list[int] = Field(description="of one sample")
    dtype: str
    clear: bool = Field(False, description="an input that is not encrypted")


class Model(BaseModel):
    model: str = Field(description="the model's digest, which every message names")
    lutra: str
    inputs: list[Port]
    outputs: list[Port]
    limits: dict[str, float] = Field(description="sizes in bytes, times in seconds")


class Registered(BaseModel):
    client: str
    token: str = Field(description="told once; send it as `Authorization: Bearer TOKEN`")
    keys: str = Field(description="the keys' name")
    expires: float = Field(description="seconds since 1970, unless the client is heard of")


class Keys(BaseModel):
    client: str
    keys: str
    size: int
    expires: float


class Progress(BaseModel):
    id: str
    state: State
    samples: int
    done: int = Field(description="samples that are computed")
    position: int = Field(description="requests before it in the queue")
    seconds: float = Field(description="how long it has run")
    remaining: float = Field(description="seconds that it is expected to need still")
    error: dict[str, str] | None = Field(None, description="why there are no results")


class Problem(BaseModel):
    code: str = Field(description="an error of Lutra")
    message: str
    help: str = Field(description="the way out")


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Descriptions of answers that are no success."""
    return {status: {"model": Problem, "description": REASONS[status]} for status in statuses}


REASONS = {
    400: "the body is no message of Lutra",
    401: "the token is missing or unknown",
    404: "this client has no such request",
    408: "the upload stalled",
    409: "not now: there are no results yet, or the body is for another model or other keys",
    413: "the body is too large",
    422: "the request was computed in vain",
    429: "this client has too many open requests; see Retry-After",
    503: "the server is busy; see Retry-After",
    507: "the server has no room",
}
"""Why a server answers with these statuses."""

BINARY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
"""A body of bytes, which is streamed."""
