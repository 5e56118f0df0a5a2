"""A worker process, seen from the server."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lutra.ir.errors import ServingError

START_SECONDS = 600.0
"""A worker that has not compiled the circuit by then is started anew."""


class Evaluator:
    """Evaluates requests in a process, one at a time; in a new one where that has ended.

    scratch: a folder for the process' temporary files, which does not outlast it.
    restarts: how often a process ended before it was told to.
    """

    def __init__(self, artifact: Path, threads: int, scratch: Path) -> None:
        self._artifact = artifact
        self._threads = threads
        self._scratch = scratch
        self._process: asyncio.subprocess.Process | None = None
        self._ready = False
        self.restarts = 0

    @property
    def ready(self) -> bool:
        """Whether the process has compiled the circuit and waits or works."""
        return self._ready and self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Have a process that takes commands. Error S003 where it ends at once."""
        if self.ready:
            return
        await self.stop()
        self._scratch.mkdir(parents=True, mode=0o700)
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "lutra.serving.worker", str(self._artifact)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={
                **os.environ,
                "OMP_NUM_THREADS": str(self._threads),
                "TMPDIR": str(self._scratch.absolute()),
            },
            start_new_session=True,  # the terminal's Ctrl-C is for the server alone
        )
        await asyncio.wait_for(self._answer(), START_SECONDS)
        self._ready = True

    async def run(
        self,
        keys: Path,
        inputs: Path,
        results: Path,
        progress: Callable[[int, int], None],
        seconds: float,
    ) -> None:
        """Write the results of a request.

        Errors: what the worker says; S003 where its process ends, or takes more `seconds`.
        """
        await self.start()
        assert self._process is not None
        assert self._process.stdin is not None
        paths = {"keys": str(keys), "inputs": str(inputs), "results": str(results)}
        try:
            self._process.stdin.write(json.dumps(paths).encode() + b"\n")
            await asyncio.wait_for(self._finished(progress), seconds)
        except (TimeoutError, asyncio.TimeoutError) as error:  # two classes up to Python 3.10
            await self.stop()
            raise ServingError("S003", f"the evaluation took more than {seconds:g} s") from error

    async def _finished(self, progress: Callable[[int, int], None]) -> None:
        while True:
            answer = await self._answer()
            if "error" in answer:
                raise ServingError(**answer["error"])
            if "finished" in answer:
                return
            progress(answer["done"], answer["total"])

    async def _answer(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            code = await self._process.wait()
            self.restarts += 1
            why = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            raise ServingError("S003", f"the process that evaluates has ended: {why}")
        found: dict[str, Any] = json.loads(line)
        return found

    def kill(self) -> None:
        """End the process and with it what it evaluates."""
        self._ready = False
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def stop(self) -> None:
        """End the process, wait until it has ended, and remove what it left."""
        self.kill()
        if self._process is not None:
            await self._process.wait()
        shutil.rmtree(self._scratch, ignore_errors=True)
