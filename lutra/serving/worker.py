"""The process that parses and evaluates what clients sent: `python -m lutra.serving.worker MODEL`.

It reads commands as JSON, one a line: {"keys": path, "inputs": path, "results": path}. It answers,
one JSON a line: {"ready": true} once it takes commands, {"done": i, "total": n} on the way, and at
the end of each {"finished": true} or {"error": {...}}. It ends when its input does, at once.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any, TextIO

from lutra.archive import write_atomically
from lutra.ir.errors import Error
from lutra.server import EvaluationKeys, Server


class Worker:
    """Evaluates requests one by one. The keys of the last are kept unpacked."""

    def __init__(self, server: Server, answers: TextIO) -> None:
        self._server = server
        self._answers = answers
        self._keys: tuple[str, EvaluationKeys] | None = None

    def answer(self, **content: Any) -> None:
        print(json.dumps(content), file=self._answers, flush=True)

    def run(self, command: dict[str, str]) -> None:
        try:
            keys = self._accepted(command["keys"])
            results = self._server.run(Path(command["inputs"]), keys, progress=self._progress)
            write_atomically(Path(command["results"]), results, 0o600)
        except Error as error:
            content = {"code": error.code, "message": error.message, "help": error.help}
            self.answer(error=content)
        else:
            self.answer(finished=True)

    def _progress(self, done: int, total: int) -> None:
        self.answer(done=done, total=total)

    def _accepted(self, path: str) -> EvaluationKeys:
        if self._keys is None or self._keys[0] != path:
            self._keys = None  # one set at a time in memory
            self._keys = path, self._server.accept(Path(path))
        return self._keys[1]


def _read(commands: Queue[dict[str, str]]) -> None:
    """Pass on commands; end the process, whatever it does, when there will be no more."""
    for line in sys.stdin:
        commands.put(json.loads(line))
    os._exit(0)


def main(artifact: str) -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # native code prints there
    commands: Queue[dict[str, str]] = Queue()
    Thread(target=_read, args=(commands,), daemon=True).start()
    worker = Worker(Server(artifact), answers)
    worker.answer(ready=True)
    while True:
        worker.run(commands.get())


if __name__ == "__main__":
    main(sys.argv[1])
