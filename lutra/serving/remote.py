"""A server, seen from a client: `lutra serve` over HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from lutra.ir.errors import InputError, ServingError
from lutra.ir.types import Array

if TYPE_CHECKING:
    import httpx

    from lutra.client import Client

POLL_SECONDS = 0.2
"""Between two questions how far a request is, at least."""

Progress = Callable[[dict[str, Any]], None]
"""Called with what the server says of a request: state, done, samples, position, remaining."""


class Remote:
    """A server at `url`.

    token: what a server gave for keys that it has already; `register` sets it.
    patience: how many seconds to ask again where the server is busy or does not answer.

    Errors of all methods: S004 and what else the server answers, S005 where it does not answer.
    Error I008 without httpx.
    """

    def __init__(self, url: str, *, token: str | None = None, patience: float = 60.0) -> None:
        try:
            import httpx
        except ImportError as error:
            raise InputError(
                "I008", "servers are asked through `httpx`", help="pip install httpx"
            ) from error
        self.url = url
        self.token = token
        self.patience = patience
        timeout = httpx.Timeout(30.0, read=120.0)
        try:
            self._http = httpx.Client(base_url=url, timeout=timeout)
            self._failures = (httpx.HTTPError, httpx.InvalidURL)
        except (httpx.InvalidURL, ValueError) as error:
            raise InputError("I005", f"{url!r} is no address: {error}") from error

    def __enter__(self) -> Remote:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def client_part(self) -> bytes:
        """What `lutra.Client` needs of the server's model."""
        return self._ask("GET", "/v1/client").content

    def register(self, client: Client) -> str:
        """Upload a client's evaluation keys; the token that the server gives for them."""
        content = client.evaluation_keys
        token: str = self._ask("POST", "/v1/keys", content=content).json()["token"]
        self.token = token
        return token

    def forget(self) -> None:
        """Have the server delete the keys, and all requests under them."""
        self._ask("DELETE", "/v1/keys")
        self.token = None

    def submit(self, inputs: bytes) -> str:
        """Upload encrypted inputs; the request's id."""
        found: str = self._ask("POST", "/v1/requests", content=inputs).json()["id"]
        return found

    def state(self, request: str) -> dict[str, Any]:
        """How far a request is."""
        found: dict[str, Any] = self._ask("GET", f"/v1/requests/{request}").json()
        return found

    def results(self, request: str, progress: Progress | None = None) -> bytes:
        """A request's encrypted results, when there are some."""
        while True:
            state = self.state(request)
            if progress is not None:
                progress(state)
            if state["state"] in ("done", "failed"):
                return self._ask("GET", f"/v1/requests/{request}/results").content
            time.sleep(min(5.0, max(POLL_SECONDS, state["remaining"] / 10)))

    def run(self, inputs: bytes, progress: Progress | None = None) -> bytes:
        """The encrypted results for encrypted inputs; the server then forgets the request."""
        request = self.submit(inputs)
        results = self.results(request, progress)
        self._ask("DELETE", f"/v1/requests/{request}")
        return results

    def predict(self, client: Client, x: Any) -> Array | tuple[Array, ...]:
        """What `Model.predict` gives, computed by the server on encrypted data."""
        if self.token is None:
            self.register(client)
        return client.decrypt(self.run(client.encrypt(x)), x)

    def _ask(self, method: str, path: str, content: bytes | None = None) -> httpx.Response:
        """The answer, where it is a success; asks again where the server is busy."""
        headers = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        until = time.monotonic() + self.patience
        while True:
            try:
                answer = self._http.request(method, path, content=content, headers=headers)
            except self._failures as error:
                # what was sent may have arrived: only questions are asked twice
                if method == "POST" or time.monotonic() > until:
                    raise ServingError(
                        "S005",
                        f"{self.url} does not answer: {type(error).__name__} {error}",
                        help="see whether `lutra serve` runs there",
                    ) from error
                time.sleep(POLL_SECONDS)
                continue
            if answer.is_success:
                return answer
            wait = answer.headers.get("Retry-After", "")
            busy = answer.status_code in (429, 503) and wait.isdecimal()
            if not busy or time.monotonic() + float(wait) > until:
                raise _error(answer)
            time.sleep(float(wait))


def _error(answer: httpx.Response) -> ServingError:
    try:
        problem = answer.json()
        return ServingError(problem["code"], problem["message"], help=problem["help"])
    except (ValueError, KeyError, TypeError):
        return ServingError("S005", f"the server answers with HTTP status {answer.status_code}")
