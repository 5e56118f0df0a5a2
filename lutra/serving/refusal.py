"""What a server answers where it does not do what it is asked."""

from __future__ import annotations

from math import ceil

from lutra.ir.errors import ServingError


class Refusal(Exception):
    """An answer that is no success: the HTTP status, the error, and when to try again."""

    def __init__(self, status: int, error: ServingError, retry_after: float | None = None) -> None:
        super().__init__(error.message)
        self.status = status
        self.error = error
        self.headers: dict[str, str] = {}
        if retry_after is not None:
            self.headers["Retry-After"] = str(max(1, ceil(retry_after)))
        if status == 401:
            self.headers["WWW-Authenticate"] = "Bearer"


def refuse(status: int, message: str, help: str, retry_after: float | None = None) -> Refusal:
    """A refusal for reasons of the server's own."""
    return Refusal(status, ServingError("S004", message, help=help), retry_after)
