"""Encrypted samples a second, by how cores are split into processes and threads.

    python -m benchmarks.throughput iris_fc --samples 12 --rounds 3

One process that has all threads is the one to beat: what `predict` did without an executor. Rounds
of all splits take turns, so that other work on the machine slows all of them alike. Every split is
warmed up first: its workers have the circuit and the keys. What that takes is shown as well.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter

import loky
import numpy as np
import psutil

import lutra
from lutra.ir.types import Array
from lutra.pool import cores

MODELS = Path(__file__).parents[1] / "examples" / "models"
PIPELINE = "default{weights=4,rounding=4}"


@dataclass
class Split:
    """Processes of some threads each, and what was measured of them.

    start: seconds until all workers have answered once. seconds, processor: wall time and
    processor time for one sample, by round, the caller's included. memory: most bytes of each
    worker that were resident.
    """

    processes: int
    threads: int
    start: float = 0.0
    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.processes} x {self.threads}"


class Measurement:
    """Splits of one circuit, ready to run the same samples again and again."""

    def __init__(self, model: lutra.Model, q: Sequence[Array], splits: Sequence[Split]) -> None:
        self.model = model
        self.q = q
        self.splits = splits
        self.pools = {split.name: _pool(split) for split in splits}
        for split in splits:
            self._start(split)

    def round(self) -> None:
        for split in self.splits:
            before, start = self._processor(split), perf_counter()
            self._run(split, self.q)
            samples = len(self.q[0])
            split.seconds.append((perf_counter() - start) / samples)
            split.processor.append((self._processor(split) - before) / samples)

    def finish(self) -> None:
        for split in self.splits:
            split.memory = [_peak(process) for process in self._workers(split)]
            self.pools[split.name].shutdown()

    def _start(self, split: Split) -> None:
        """Samples until every worker has the keys: a few may go to one that is quicker."""
        start = perf_counter()
        self._run(split, [array[: 2 * split.processes] for array in self.q])
        split.start = perf_counter() - start

    def _run(self, split: Split, q: Sequence[Array]) -> None:
        self.model.evaluate(q, "encrypt", executor=self.pools[split.name])

    def _workers(self, split: Split) -> list[psutil.Process]:
        return [psutil.Process(pid) for pid in self.pools[split.name]._processes]

    def _processor(self, split: Split) -> float:
        processes = [psutil.Process(), *self._workers(split)]
        return float(sum(sum(process.cpu_times()[:2]) for process in processes))


def _pool(split: Split) -> Executor:
    executor: Executor = loky.ProcessPoolExecutor(
        split.processes, env={"OMP_NUM_THREADS": str(split.threads)}
    )
    return executor


def _peak(process: psutil.Process) -> int:
    """Most bytes that were resident, as Linux counts them."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return 1024 * int(line.split()[1])


def splits(count: int) -> Iterator[Split]:
    """One process of all threads first, then more of fewer, and last as many of all threads."""
    for processes in range(1, count + 1):
        if count % processes == 0:
            yield Split(processes, count // processes)
    yield Split(count, count)


def rows(measured: Sequence[Split]) -> Iterator[str]:
    yield (
        f"{'processes x threads':20} {'s/sample':>9} {'ratio':>6} {'processor s':>12} "
        f"{'start s':>8}  MB of each worker"
    )
    for split in measured:
        ratio = median(a / b for a, b in zip(measured[0].seconds, split.seconds, strict=True))
        memory = ", ".join(f"{size / 1e6:.0f}" for size in split.memory)
        yield (
            f"{split.name:20} {median(split.seconds):9.3f} {ratio:6.2f} "
            f"{median(split.processor):12.3f} {split.start:8.1f}  {memory}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("model", choices=sorted(path.stem for path in MODELS.glob("*.onnx")))
    parser.add_argument("--samples", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pipeline", default=PIPELINE)
    parser.add_argument(
        "--splits", nargs="+", metavar="PxT", help="processes x threads, the one to beat first"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a split")
    options = parser.parse_args()
    data = np.load(MODELS / f"{options.model}.npz")
    model = lutra.compile(
        MODELS / f"{options.model}.onnx", data["x_train"][:1000], options.pipeline
    )
    model.keygen()
    q = model.encode(np.resize(data["x_test"], (options.samples, *data["x_test"].shape[1:])))
    asked = [Split(*map(int, text.split("x"))) for text in options.splits or ()]
    measurement = Measurement(model, q, asked or list(splits(cores())))
    for _ in range(options.rounds):
        measurement.round()
    measurement.finish()
    if options.json:
        for split in measurement.splits:
            print(json.dumps(asdict(split)))
        return
    for line in rows(measurement.splits):
        print(line)


if __name__ == "__main__":
    main()
