"""Concrete ML behind a process: requests, answers, timeouts, and a cache of what was measured."""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import IO, Any, Literal

from benchmarks.versus import environment
from benchmarks.versus.configurations import DEFAULT_P_ERROR, Configuration
from benchmarks.versus.figures import Point
from benchmarks.versus.subjects import Subject

Task = Literal["measure", "speed", "encrypt", "deploy"]

WORKER = Path(__file__).with_name("worker.py")
CALIBRATION = 2000
"""Samples of the training set, at most: Concrete ML evaluates its graph on each."""

FAR = 0.1
"""Configurations whose accuracy is further below float are not compiled."""


@dataclass(frozen=True)
class Request:
    """What the worker is asked; see there for the tasks."""

    task: Task
    model: str
    data: str
    n_bits: int | None
    rounding: int | None
    exact: bool
    p_error: float | None
    calibration: int = CALIBRATION
    floor: float = 0.0
    samples: int = 3

    @classmethod
    def of(
        cls,
        task: Task,
        subject: Subject,
        configuration: Configuration,
        **more: Any,
    ) -> Request:
        return cls(task, str(subject.model), str(subject.data), **asdict(configuration), **more)


class Cache:
    """Answers by request, one JSON line each; the last line for a request counts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, dict[str, Any]] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    entry = json.loads(line)
                    self._known[entry["key"]] = entry["answer"]
                except (ValueError, KeyError, TypeError):
                    continue  # the last line of an interrupted run

    def get(self, key: str) -> dict[str, Any] | None:
        return self._known.get(key)

    def put(self, key: str, request: Request, answer: dict[str, Any]) -> None:
        self._known[key] = answer
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": key, "request": asdict(request), "answer": answer}))
            file.write("\n")


class Peer:
    """Concrete ML; its process starts with the first question that the cache cannot answer.

    timeout: seconds for one answer, after which the process is killed.
    """

    def __init__(self, where: Path, timeout: float) -> None:
        self._where = where
        self._timeout = timeout
        self._cache = Cache(where / "concrete-ml.jsonl")
        self._process: subprocess.Popen[str] | None = None
        self._answers: Queue[str] = Queue()

    def measure(self, subject: Subject, configuration: Configuration) -> Point:
        """Accuracy and price of one configuration, from the cache if it was measured before."""
        floor = round(subject.float_accuracy - FAR, 4)
        request = Request.of("measure", subject, configuration, floor=floor)
        key = _key(request, environment.version())
        answer = self._cache.get(key)
        if answer is None:
            answer = self.ask(request)
            if not answer.get("unanswered"):  # a quieter machine may answer in time
                self._cache.put(key, request, answer)
        return Point(
            label=configuration.label,
            accuracy=answer.get("accuracy"),
            price=answer.get("price"),
            p_error=answer.get("p_error") or configuration.p_error or DEFAULT_P_ERROR,
            pbs=answer.get("pbs"),
            bits=_bits(configuration, answer.get("bits")),
            compile=answer.get("compile"),
            error=answer.get("error", ""),
        )

    def ask(self, request: Request) -> dict[str, Any]:
        """The answer, or an `error`: of Concrete ML, of a process that ended, or of time."""
        if self._process is None:
            self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(asdict(request)) + "\n")
            self._process.stdin.flush()
            line = self._answers.get(timeout=self._timeout)
        except Empty:
            self.close()
            return {"error": f"no answer within {self._timeout:.0f} s", "unanswered": True}
        except OSError:
            line = ""
        if not line:
            self.close()
            return {"error": "the process ended", "unanswered": True}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process; the next question starts another."""
        if self._process is not None:
            with self._process:  # closes its pipes and waits
                self._process.kill()
                self._reader.join()
            self._process = None

    def _start(self) -> None:
        python = environment.interpreter(self._where)
        self._process = subprocess.Popen(
            [str(python), str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        self._answers = Queue()
        arguments = (self._process.stdout, self._answers)
        self._reader = Thread(target=_read, args=arguments, daemon=True)
        self._reader.start()


def _read(stream: IO[str], answers: Queue[str]) -> None:
    for line in stream:
        answers.put(line)
    answers.put("")


def _key(request: Request, version: str) -> str:
    """Digest of the contents of the files, the settings and the installed versions."""
    digest = hashlib.sha256(version.encode())
    for path in (request.model, request.data):
        digest.update(hashlib.sha256(Path(path).read_bytes()).digest())
    settings = {k: v for k, v in asdict(request).items() if k not in ("model", "data")}
    digest.update(json.dumps(settings, sort_keys=True).encode())
    return digest.hexdigest()


def _bits(configuration: Configuration, widest: int | None) -> str:
    """Widest accumulator, and what rounding leaves of it."""
    if widest is None:
        return ""
    rounding = configuration.rounding
    return f"{widest}" if rounding is None or rounding >= widest else f"{widest} to {rounding}"
