"""`lutra serve` as a process of its own."""

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
    until = time.monotonic() + DEADLINE
    while not true():
        assert time.monotonic() < until, "it does not happen"
        time.sleep(0.05)


def start(*arguments: str) -> tuple[subprocess.Popen[str], str]:
    """A command that listens, and the address that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", "lutra", *arguments], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    printed = []
    for line in process.stdout:
        printed.append(line)
        if line.startswith("listening at "):
            return process, line.split()[-1]
    raise AssertionError("".join(printed))


class Running:
    """A server's process, ready; `data` is its folder."""

    def __init__(self, model: Path, data: Path, **options: object) -> None:
        self.data = data
        named = (f"--{name.replace('_', '-')}={value}" for name, value in options.items())
        self.process, self.url = start("serve", str(model), "--port=0", f"--data={data}", *named)
        self.http = httpx.Client(base_url=self.url, timeout=DEADLINE)
        wait_until(lambda: self.http.get("/health").status_code == 200)

    def ask(self, method: str, path: str, token: str | None = None, **more: Any) -> httpx.Response:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return self.http.request(method, path, headers=headers, **more)

    def figure(self, name: str) -> float:
        """One of the figures at /metrics."""
        lines = self.http.get("/metrics").text.splitlines()
        (value,) = (line.split()[-1] for line in lines if line.startswith(f"lutra_{name} "))
        return float(value)

    def connect(self) -> socket.socket:
        url = httpx.URL(self.url)
        return socket.create_connection((url.host, url.port), timeout=DEADLINE)

    def worker(self) -> int:
        """The process that evaluates."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        (pid,) = children.read_text().split()
        return int(pid)

    def kill(self) -> None:
        """End the process as the kernel does that has no memory left."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        self.http.close()
        self.process.send_signal(number)
        self.process.wait(DEADLINE)
        assert self.process.stdout is not None
        self.process.stdout.close()
