"""`lutra serve` as a process of its own, for tests and benchmarks of clients. Needs httpx."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

DEADLINE = 120.0
"""Seconds after which what does not happen never will."""


def wait_until(true: Callable[[], object]) -> None:
    """Return once something is true. TimeoutError where it never gets so."""
    until = time.monotonic() + DEADLINE
    while not true():
        if time.monotonic() > until:
            raise TimeoutError(f"it is not so after {DEADLINE:g} s")
        time.sleep(0.05)


def start(*arguments: str) -> tuple[subprocess.Popen[str], str]:
    """A command of `lutra` that listens, and the address that it prints. RuntimeError without."""
    process = subprocess.Popen(
        [sys.executable, "-m", "lutra", *arguments], stdout=subprocess.PIPE, text=True
    )
    printed = []
    for line in process.stdout or ():
        printed.append(line)
        if line.startswith("listening at "):
            return process, line.split()[-1]
    raise RuntimeError("".join(printed))


class Running:
    """A server of a model, ready.

    data: its folder. url: its address. options: as `lutra serve` has them.
    """

    def __init__(self, model: Path, data: Path, **options: object) -> None:
        self.data = data
        options = {"port": 0, **options}
        named = (f"--{name.replace('_', '-')}={value}" for name, value in options.items())
        self.process, self.url = start("serve", str(model), f"--data={data}", *named)
        self.http = httpx.Client(base_url=self.url, timeout=DEADLINE)
        wait_until(lambda: self.http.get("/health").status_code == 200)

    def ask(self, method: str, path: str, token: str | None = None, **more: Any) -> httpx.Response:
        """The answer to a request with a client's token."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return self.http.request(method, path, headers=headers, **more)

    def figure(self, name: str) -> float:
        """One of the figures at /metrics."""
        lines = self.http.get("/metrics").text.splitlines()
        (value,) = (line.split()[-1] for line in lines if line.startswith(f"lutra_{name} "))
        return float(value)

    def connect(self) -> socket.socket:
        """A connection on which to send anything."""
        url = httpx.URL(self.url)
        return socket.create_connection((url.host, url.port or 80), timeout=DEADLINE)

    def worker(self) -> int:
        """The process that evaluates."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        (pid,) = children.read_text().split()
        return int(pid)

    def kill(self) -> None:
        """End the process as the kernel does that has no memory left."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End the process as its user does."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        self.http.close()
        self.process.send_signal(number)
        self.process.wait(DEADLINE)
        if self.process.stdout is not None:
            self.process.stdout.close()
