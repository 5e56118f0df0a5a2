"""A load run against `lutra serve`: honest clients beside such that cut, flood and lie.

    python -m benchmarks.serving --clients 6 --seconds 180

Every so often the process that evaluates is killed, and the server itself, which is then started
anew. Each answer is compared with the integers in the clear. At the end every request that was
accepted must have been answered, or failed with a reason, and once the clients have deleted their
keys nothing may be left on the server's disk.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median
from threading import Event, Lock, Thread
from typing import Any

import httpx
import numpy as np
import onnx.parser

import lutra
from lutra.client import Client
from lutra.ir.errors import ServingError
from lutra.ir.types import Array
from lutra.message import Header, pack_keys, pack_samples
from lutra.testing.serving import Running

MODEL = """<ir_version: 10, opset_import: ["": 17]>
net (float[N,2] x) => (float[N,2] y)
<float[2,3] w = {0.3,-1.2,0.7,1.1,0.4,-0.6}, float[3,2] v = {0.9,-0.5,0.2,1.3,-0.8,0.6}>
{ h = MatMul(x, w)  r = Relu(h)  y = MatMul(r, v) }"""
"""Three look-ups: what is tested is the server."""

PIPELINE = "default{weights=2,activations=2,inputs=2,rounding=none}"
"""Exact, and few bits: the same integers under encryption as in the clear."""

QUEUE = 6
"""Short, so that clients find it full."""


class Load:
    """The run: its server, which others kill, and what was seen.

    seen: events by name. latencies: seconds from a request's acceptance to its answer.
    """

    def __init__(self, path: Path, data: Path) -> None:
        self.path, self.data = path, data
        self.stop = Event()
        self.seen: Counter[str] = Counter()
        self.latencies: list[float] = []
        self.restarts: list[float] = []
        self._lock = Lock()
        self.server = Running(path, data, queue=QUEUE, client_queue=2, stall_seconds=3)
        self.url = self.server.url

    def count(self, event: str) -> None:
        with self._lock:
            self.seen[event] += 1

    def kill_server(self) -> None:
        """End the server without warning, and start it anew at the same address."""
        self.server.kill()
        start = time.monotonic()
        port = httpx.URL(self.url).port
        self.server = Running(
            self.path, self.data, queue=QUEUE, client_queue=2, stall_seconds=3, port=port
        )
        self.restarts.append(time.monotonic() - start)
        self.count("server killed")

    def kill_worker(self) -> None:
        with suppress(ValueError, OSError):
            os.kill(self.server.worker(), signal.SIGKILL)
            self.count("evaluator killed")


class Honest:
    """A client that asks for what it may, and checks what it gets."""

    def __init__(self, load: Load, client: Client, x: Array, clear: Array, seed: int) -> None:
        self.load, self.client, self.x, self.clear = load, client, x, clear
        self.random = random.Random(seed)
        self.remote = lutra.Remote(load.url, patience=0)
        self.ids: dict[str, int] = {}

    def persist(self, ask: Callable[[], Any]) -> Any:
        """Ask until the server answers, or refuses for good."""
        while True:
            try:
                return ask()
            except ServingError as error:
                busy = "waiting" in error.message or "are open" in error.message
                if not (error.code == "S005" or busy or "uploads" in error.message):
                    raise
                self.load.count("refused as busy" if busy else "found no server")
                time.sleep(self.random.uniform(0.2, 1.5))

    def run(self) -> None:
        self.persist(lambda: self.remote.register(self.client))
        while not self.load.stop.is_set():
            index = self.random.randrange(len(self.x))
            inputs = self.client.encrypt(self.x[index : index + 1])
            id = self.persist(lambda inputs=inputs: self.remote.submit(inputs))  # type: ignore[misc]
            self.ids[id] = index
            self.load.count("accepted")
            self.answered(id, time.monotonic())

    def answered(self, id: str, start: float) -> None:
        while self.persist(lambda: self.remote.state(id))["state"] in ("queued", "running"):
            time.sleep(0.2)
        try:
            results = self.persist(lambda: self.remote.results(id))
        except ServingError as error:
            self.load.count(f"failed with a reason: {error.code}")
            return
        (integers,) = self.client.decrypt_integers(results)
        right = np.array_equal(integers[0], self.clear[self.ids[id]])
        self.load.count("answered right" if right else "ANSWERED WRONG")
        self.load.latencies.append(time.monotonic() - start)

    def settle(self) -> None:
        """See that all requests have ended, those also whose acceptance got lost; leave."""
        listed = httpx.get(
            f"{self.load.url}/v1/requests", headers={"Authorization": f"Bearer {self.remote.token}"}
        ).json()
        for state in listed:
            while state["state"] in ("queued", "running"):
                time.sleep(0.2)
                state = self.remote.state(state["id"])
            known = state["state"] == "done" or state["error"]
            self.load.count("settled in the end" if known else "UNSETTLED")
        self.remote.forget()


def liar(load: Load, client: Client, seed: int) -> None:
    """Sends what is no message, too much, for others, or with nothing right inside."""
    rng = random.Random(seed)
    header = Header("inputs", client.model, client.keys, 1)
    other = Header("inputs", "0" * 64, client.keys, 1)
    keys = pack_keys(Header("keys", client.model, client.keys), rng.randbytes(5000))
    bodies = {
        "requests": [
            *(b"", rng.randbytes(300), bytes(20 << 20), pack_samples(other, [[b"x"]])),
            *(pack_samples(header, [[rng.randbytes(300)]]), pack_samples(header, [])),
        ],
        "keys": [b"PK", rng.randbytes(10**5), keys, pack_samples(header, [[b"x"]])],
    }
    token = None
    while not load.stop.is_set():
        kind = rng.choice(["requests", "keys"])
        shown = rng.choice([token, token, "x.y", ""]) or "none"
        try:
            answer = httpx.post(
                f"{load.url}/v1/{kind}",
                content=rng.choice(bodies[kind]),
                headers={"Authorization": f"Bearer {shown}"},
                timeout=30,
            )
            load.count(f"lies answered with {answer.status_code}")
            if answer.status_code == 201:
                if token is not None:
                    forget(load, token)
                token = answer.json()["token"]
        except httpx.HTTPError:
            load.count("lies cut by the server")
        time.sleep(rng.uniform(0.05, 0.3))
    if token is not None:
        forget(load, token)


def forget(load: Load, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    for _ in range(100):
        try:
            httpx.delete(f"{load.url}/v1/keys", headers=headers)
        except httpx.HTTPError:
            time.sleep(0.3)
        else:
            return


def cutter(load: Load, keys: bytes, seed: int) -> None:
    """Begins uploads and goes away in the middle."""
    rng = random.Random(seed)
    head = f"POST /v1/keys HTTP/1.1\r\nHost: x\r\nContent-Length: {len(keys)}\r\n\r\n".encode()
    while not load.stop.is_set():
        with suppress(OSError), load.server.connect() as connection:
            connection.sendall(head + keys[: rng.randrange(len(keys))])
            load.count("uploads cut")
        time.sleep(rng.uniform(0.2, 1.0))


def killer(load: Load, seed: int) -> None:
    rng = random.Random(seed)
    while not load.stop.wait(rng.uniform(12, 20)):
        if rng.random() < 0.5:
            load.kill_worker()
        else:
            load.kill_server()


def run(folder: Path, clients: int, seconds: float) -> list[str]:
    """Lines on what was seen."""
    x = np.random.default_rng(0).uniform(-1, 1, (100, 2)).astype(np.float32)
    path = folder / "net.lutra"
    model = lutra.compile(onnx.parser.parse_model(MODEL), x, PIPELINE, p_error=1e-7)
    model.save(path)
    (clear,) = model.evaluate(model.encode(x))
    holders = [Client(path) for _ in range(clients)]
    for client in holders:
        client.keygen()
    load = Load(path, folder / "data")
    honest = [Honest(load, client, x, clear, i) for i, client in enumerate(holders)]
    keys = holders[0].evaluation_keys
    threads = [Thread(target=each.run) for each in honest]
    threads += [Thread(target=liar, args=(load, holders[0], i)) for i in range(2)]
    threads += [Thread(target=cutter, args=(load, keys, i)) for i in range(2)]
    threads.append(Thread(target=killer, args=(load, 0)))
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    load.stop.set()
    for thread in threads:
        thread.join()
    for each in honest:
        each.settle()
    uploads = load.server.figure("clients")
    load.server.stop()
    left = [path for path in (folder / "data").rglob("*") if path.is_file()]
    lines = [f"{event}: {count}" for event, count in sorted(load.seen.items())]
    lines.append(
        f"seconds to an answer: {median(load.latencies):.1f} in the middle, "
        f"{np.quantile(load.latencies, 0.95):.1f} for 95 %, {max(load.latencies):.1f} at most"
    )
    if load.restarts:
        lines.append(f"seconds from kill to ready: {median(load.restarts):.1f} in the middle")
    lines.append(f"keys left by those who never learnt their token: {uploads:g}")
    lines.append(f"files left: {sorted(path.name for path in left)}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=180)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print("\n".join(run(Path(folder), options.clients, options.seconds)))


if __name__ == "__main__":
    main()
