"""Processes of this machine, in which encrypted samples are computed by default."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import loky

from lutra.ir.errors import InputError

if TYPE_CHECKING:
    from lutra.report import Layer, Report

P = ParamSpec("P")
R = TypeVar("R")

IDLE = 60
"""Seconds after which processes without work end, and give their memory back."""
PLAIN = 300e6
"""Bytes that a worker takes beside its keys, which it holds in two forms."""
SPEED = 5e9
"""Price that one core works off in a second, in Concrete's unit: 4e9 to 7e9 was measured."""
SERIAL = 0.05
"""Work on a sample that threads do not share, by `python -m benchmarks.throughput`."""
START = 4.0
"""Seconds that processes take to start and to read the keys, by the same."""


class Pool(Executor):
    """Processes that are started on first use, stay a while, and are replaced when they end.

    Every process gets an equal share of the threads. Unlike those of the standard library, they do
    not run the caller's main module again, so that scripts need no guard.
    """

    def __init__(self, processes: int, threads: int = 1) -> None:
        self.processes = processes
        self.threads = threads

    def __str__(self) -> str:
        return f"{self.processes} processes of {self.threads} threads"

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        pool = loky.get_reusable_executor(
            max_workers=self.processes,
            timeout=IDLE,
            env={"OMP_NUM_THREADS": str(self.threads)},
        )
        future: Future[R] = pool.submit(fn, *args, **kwargs)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Nothing: processes end by themselves when they have no work."""


def cores() -> int:
    """Processors that this process may use, by its affinity and its control group."""
    found: int = loky.cpu_count()
    return found


def chosen(executor: Executor | int | None, samples: int, report: Report) -> Executor | None:
    """Where encrypted samples are computed; None for this process.

    executor: what the caller asks for. report: of the model, with prices.

    Errors I005: see `check_executor`.
    """
    if isinstance(executor, Executor):
        check_executor(executor)
        return executor
    names = (f"{kind}_key_bytes" for kind in ("bootstrap", "keyswitch"))
    memory = sum(report.statistics.get(name, 0.0) for name in names)
    if executor is not None:
        return pool(executor)
    found = pool(memory=memory)
    pays = found.processes > 1 < samples and saved(samples, report.layers, cores()) > START
    return found if pays else None


def check_executor(executor: Executor) -> None:
    """Error I005 for forked processes, which wait for ever for threads that were not forked.

    Seen in Concrete's circuits once one has run in the process that forks.
    """
    if isinstance(executor, ProcessPoolExecutor):
        context = executor._mp_context  # it tells no other way
        if context is not None and context.get_start_method() == "fork":
            raise InputError(
                "I005",
                "the executor forks processes, in which native code may hang",
                help="give it mp_context=multiprocessing.get_context('spawn'), or a number of "
                "processes instead of an executor",
            )


def saved(samples: int, layers: Sequence[Layer], cores: int) -> float:
    """Seconds that processes of one thread each save against one process of all threads.

    Threads share out the look-ups of one layer, and wait for the last at its end: of n look-ups on
    c cores, the time of c ceil(n / c) is taken. What is no look-up takes one core.
    """
    alone = apart = 0.0
    for layer in layers:
        work = samples * (layer.price or 0.0) / SPEED / cores
        apart += work
        alone += work * (1 + SERIAL) * math.ceil(layer.pbs / cores) * cores / max(1, layer.pbs)
    return alone - apart


def pool(processes: int | None = None, *, memory: float = 0.0) -> Pool:
    """A pool of as many processes as there are cores, or of `processes`.

    memory: bytes of keys that each will hold. Where not all have room, there are fewer, of more
        threads each.
    """
    room = max(1, int(_available() / (PLAIN + 2 * memory)))
    count = processes or min(cores(), room)
    return Pool(count, max(1, cores() // count))


def _available() -> float:
    """Bytes of memory that are free, or could be."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        name, value, *_ = line.split()
        if name == "MemAvailable:":
            return 1024.0 * int(value)
    return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
