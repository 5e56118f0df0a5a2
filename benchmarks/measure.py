"""Processor time per node at several sizes, and how it grows.

Processor time, not wall time, so that other programs on the machine matter little. Python's
garbage collector runs as usual during a task, for all frameworks alike, and looks only at what the
task itself has made: what lives before is collected and frozen.
"""

from __future__ import annotations

import gc
import math
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import process_time
from typing import Generic, TypeVar

S = TypeVar("S")

ENOUGH = 2.0
"""Seconds of runs after which a task is not run again."""
FOREVER = 1e6
"""Seconds, of a limit that is none."""


class OutOfTimeError(BaseException):
    """A task took too long. Not an `Exception`: those, a framework may handle itself."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Interrupt what runs inside, in Python code of the main thread, with `OutOfTimeError`.

    seconds: of processor time. A timer of wall time looks whether they have passed, for a timer of
    processor time would make the clock itself advance in ticks of milliseconds.
    """
    end = process_time() + seconds

    def look(*_: object) -> None:
        if process_time() > end:
            raise OutOfTimeError

    before = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, min(seconds, FOREVER), min(seconds / 10, FOREVER))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@dataclass(frozen=True)
class Task(Generic[S]):
    """Something to time: `run` on what `setup` makes anew for every repetition."""

    name: str
    setup: Callable[[], S]
    run: Callable[[S], object]

    def seconds(self, repeats: int, limit: float = math.inf) -> float | None:
        """The shortest of some runs, fewer where that takes longer than `ENOUGH`.

        limit: seconds after which a run is given up, and the result is None.
        """
        best, total = math.inf, 0.0
        for _ in range(repeats):
            subject = self.setup()
            gc.collect()
            gc.freeze()
            start = process_time()
            try:
                with time_limit(limit):
                    self.run(subject)
            except OutOfTimeError:
                return None
            finally:
                taken = process_time() - start
                gc.unfreeze()
            best, total = min(best, taken), total + taken
            if total > ENOUGH:
                break
        return best


@dataclass
class Series:
    """Seconds that one task of one framework took, by number of nodes.

    given_up: whether a run took too long, so that larger ones need not be tried.
    """

    task: str
    framework: str
    seconds: dict[int, float] = field(default_factory=dict)
    given_up: bool = False

    def measure(self, task: Task[S], size: int, repeats: int, limit: float) -> None:
        """Time the task on `size` nodes unless it is expected to take longer than `limit` s."""
        if self.given_up or self.expected(size) > limit:
            return
        seconds = task.seconds(repeats, limit)
        if seconds is None:
            self.given_up = True
        else:
            self.seconds[size] = seconds

    def per_node(self, size: int) -> float:
        """Microseconds per node."""
        return 1e6 * self.seconds[size] / size

    def expected(self, size: int) -> float:
        """Seconds to be expected at a larger size if they grow as they last did; 0 if unknown."""
        if not self.seconds:
            return 0.0
        last = max(self.seconds)
        power = 1.0 if math.isnan(self.last_growth) else self.last_growth
        return float(self.seconds[last] * (size / last) ** power)

    @property
    def growth(self) -> float:
        """p of the least-squares fit seconds ~ nodes^p."""
        return slope(self.seconds)

    @property
    def last_growth(self) -> float:
        """The same between the largest size and the largest at most a tenth of it."""
        last = max(self.seconds, default=0)
        before = max((n for n in self.seconds if 10 * n <= last), default=last)
        if before == last:
            return math.nan
        return slope({n: self.seconds[n] for n in (before, last)})


def slope(seconds: Mapping[int, float]) -> float:
    """Of the least-squares line through (log n, log seconds); nan for a single size."""
    points = [(math.log(n), math.log(t)) for n, t in seconds.items()]
    if len(points) < 2:
        return math.nan
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return float(sum((x - mean_x) * (y - mean_y) for x, y in points) / spread)


def table(series: Iterable[Series]) -> str:
    """One line for each series: microseconds per node, one column for each size, and the growth."""
    rows = list(series)
    sizes = sorted({size for row in rows for size in row.seconds})
    lines = [" " * 34 + "".join(f"{size:>9}" for size in sizes) + "   growth  last x10"]
    for row in rows:
        cells = "".join(
            f"{row.per_node(size):9.2f}" if size in row.seconds else f"{'-':>9}" for size in sizes
        )
        growth = f"{row.growth:9.2f}{row.last_growth:10.2f}"
        lines.append(f"  {row.task:13}{row.framework:19}{cells}{growth}")
    return "\n".join(lines)
