"""Wall time per node at several sizes, and how it grows."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Generic, TypeVar

S = TypeVar("S")

ENOUGH = 2.0
"""Seconds of runs after which a task is not run again."""


@dataclass(frozen=True)
class Task(Generic[S]):
    """Something to time: `run` on what `setup` makes anew for every repetition."""

    name: str
    setup: Callable[[], S]
    run: Callable[[S], object]

    def seconds(self, repeats: int) -> float:
        """The shortest of some runs, fewer where that takes longer than `ENOUGH`.

        What lives before a run is kept from the garbage collector.
        """
        best, total = math.inf, 0.0
        for _ in range(repeats):
            subject = self.setup()
            gc.collect()
            gc.freeze()
            start = perf_counter()
            self.run(subject)
            taken = perf_counter() - start
            gc.unfreeze()
            best, total = min(best, taken), total + taken
            if total > ENOUGH:
                break
        return best


@dataclass
class Series:
    """Seconds that one task of one framework took, by number of nodes."""

    task: str
    framework: str
    seconds: dict[int, float] = field(default_factory=dict)

    def per_node(self, size: int) -> float:
        """Microseconds per node."""
        return 1e6 * self.seconds[size] / size

    @property
    def growth(self) -> float:
        """p of the least-squares fit seconds ~ nodes^p."""
        return slope(self.seconds)

    @property
    def last_growth(self) -> float:
        """The same between the largest size and the largest at most a tenth of it."""
        last = max(self.seconds)
        before = max((n for n in self.seconds if 10 * n <= last), default=last)
        return slope({n: self.seconds[n] for n in (before, last)})


def slope(seconds: Mapping[int, float]) -> float:
    """Of the least-squares line through (log n, log seconds); nan for a single size."""
    points = [(math.log(n), math.log(t)) for n, t in seconds.items()]
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else math.nan


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
