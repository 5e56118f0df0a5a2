"""Random programs at three levels, and all that holds for every program, tried on each.

    python -m benchmarks.random_graphs                      # 20,000 programs, by all processors
    python -m benchmarks.random_graphs --examples 500 --seed 7 --json found.json
    python -m benchmarks.random_graphs --encrypted 20       # these many circuits under encryption
    python -m benchmarks.random_graphs --replay failures/integer-text/module.lutra-ir

For every property: on how many programs it was tried, how many a pass or backend says that it does
not take, for how many the property does not hold, and the seconds of one processor. What fails is
made as small as can be and written to a folder of its own. The exit status is 1 then.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter

from lutra.ir.files import read_module
from lutra.testing.graphs import few_bits_graphs
from lutra.testing.hunt import Findings, Reproducer, Tally, hunt, programs
from lutra.testing.properties import LEVELS, check_encrypted, level_of, properties, try_all

CHUNK = 250
"""Programs that one process tries at a time."""
Row = tuple[str, str]
"""Level and property."""


def chunks(examples: int, encrypted: int, seed: int) -> Iterator[tuple[str, int, int]]:
    """Level, number of programs and seed of each piece of work, the levels by turns."""
    share = {level: examples // 3 + (i < examples % 3) for i, level in enumerate(LEVELS)}
    share["encrypted"] = encrypted
    while any(share.values()):
        for level, left in share.items():
            if left:
                yield level, min(CHUNK, left), seed
                share[level] -= min(CHUNK, left)
        seed += CHUNK  # a search takes one seed more for everything that it shrinks


def work(chunk: tuple[str, int, int]) -> tuple[str, dict[str, Tally], list[Reproducer]]:
    """Go through one piece of work."""
    level, count, seed = chunk
    if level == "encrypted":
        findings = _encrypted(count, seed)
    else:
        findings = hunt(programs(level), properties(level), count, seed)
    return level, findings.tallies, [failure.reproducer() for failure in findings.failures]


def _encrypted(count: int, seed: int) -> Findings:
    """Half of the circuits bootstrap, and all share their keys."""
    with tempfile.TemporaryDirectory() as keys:
        check = partial(check_encrypted, keys=Path(keys))
        strategy = few_bits_graphs() | few_bits_graphs(bootstraps=False)
        return hunt(strategy, {"backend concrete": check}, count, seed)


def run(pieces: Sequence[tuple[str, int, int]], jobs: int, folder: Path) -> dict[Row, Tally]:
    """Go through all work in some processes, and write the smallest program that fails a check."""
    tallies: dict[Row, Tally] = {}
    smallest: dict[Row, int] = {}
    start = perf_counter()
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        futures = [pool.submit(work, piece) for piece in pieces]
        try:
            for done, future in enumerate(as_completed(futures), 1):
                level, found, reproducers = future.result()
                for name, tally in found.items():
                    tallies.setdefault((level, name), Tally()).add(tally)
                for item in reproducers:
                    row = level, item.name
                    if len(item.text) < smallest.setdefault(row, len(item.text) + 1):
                        smallest[row] = len(item.text)
                        _write(item, folder / f"{level}-{item.name.replace(' ', '-')}")
                _progress(done, len(pieces), perf_counter() - start)
        except KeyboardInterrupt:
            print("\ninterrupted: the table holds what was tried so far", file=sys.stderr)
            pool.shutdown(cancel_futures=True)
    return tallies


def _write(item: Reproducer, folder: Path) -> None:
    item.write(folder)
    print(f"\n{item.name} fails: see {folder}", file=sys.stderr)


def _progress(done: int, total: int, seconds: float) -> None:
    if sys.stderr.isatty():
        print(f"\r{done} of {total}, {seconds:.0f} s ", end="", file=sys.stderr)


def table(tallies: dict[Row, Tally]) -> str:
    """One line for each level and property that was tried at all."""
    lines = [
        f"{'level':11}{'property':24}{'examples':>9}{'refused':>9}{'failures':>9}{'seconds':>9}"
    ]
    order = [*LEVELS, "encrypted"]
    for (level, name), tally in sorted(tallies.items(), key=lambda item: order.index(item[0][0])):
        if tally.examples:
            lines.append(
                f"{level:11}{name:24}{tally.examples:9,}{tally.refused:9,}{tally.failures:9,}"
                f"{tally.seconds:9.1f}"
            )
    return "\n".join(lines)


def replay(path: Path) -> int:
    """Try all properties on one program; the number of those that fail."""
    graph = read_module(path).main
    failures = 0
    for name, error in try_all(graph, properties(level_of(graph))):
        failures += error is not None
        print(f"{name:24}{'holds' if error is None else f'{type(error).__name__}: {error}'}")
    return failures


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.random_graphs", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--examples", type=int, default=20_000, help="programs, of all levels")
    parser.add_argument("--encrypted", type=int, default=0, help="circuits to run encrypted too")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--failures", type=Path, default=Path("failures"), help="folder")
    parser.add_argument("--json", type=Path, help="also write the table to this file")
    parser.add_argument("--replay", type=Path, help="instead try one program, from its text")
    options = parser.parse_args(arguments)
    if options.replay is not None:
        return int(replay(options.replay) > 0)
    start = perf_counter()
    pieces = list(chunks(options.examples, options.encrypted, options.seed))
    tallies = run(pieces, options.jobs, options.failures)
    print(table(tallies))
    done = sum(max(t.examples + t.refused for t in level) for level in _by_level(tallies))
    print(f"{done:,} programs, {perf_counter() - start:.0f} s")
    if options.json is not None:
        options.json.write_text(json.dumps(_rows(tallies.items(), options.seed), indent=1))
    return int(any(tally.failures for tally in tallies.values()))


def _by_level(tallies: dict[Row, Tally]) -> list[list[Tally]]:
    levels = dict.fromkeys(level for level, _ in tallies)
    return [[tally for (name, _), tally in tallies.items() if name == level] for level in levels]


def _rows(tallies: Iterable[tuple[Row, Tally]], seed: int) -> list[dict[str, object]]:
    return [
        {"level": level, "property": name, "seed": seed, **asdict(tally)}
        for (level, name), tally in tallies
    ]


if __name__ == "__main__":
    sys.exit(main())
