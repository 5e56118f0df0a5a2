"""Tries properties on random programs, and shrinks the programs that they do not hold for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky

from lutra.ir.core import Graph
from lutra.ir.errors import Error
from lutra.ir.rewriter import Rewriter
from lutra.passes.dce import eliminate_dead_code
from lutra.testing.checks import full_text
from lutra.testing.graphs import INTEGER_OPS, integer_graphs, quantized_graphs
from lutra.testing.layers import float_graphs
from lutra.testing.properties import Check, Refused, try_all


def programs(level: str) -> st.SearchStrategy[Graph]:
    """Random programs of a level."""
    if level == "integer":
        return integer_graphs(kinds=(*INTEGER_OPS, "lookup", "lookup"))
    return {"float": float_graphs, "quantized": quantized_graphs}[level]()


@dataclass
class Tally:
    """Of one property: programs tried and those refused or failed, and seconds in all."""

    examples: int = 0
    refused: int = 0
    failures: int = 0
    seconds: float = 0.0

    def add(self, other: Tally) -> None:
        self.examples += other.examples
        self.refused += other.refused
        self.failures += other.failures
        self.seconds += other.seconds


@dataclass(frozen=True)
class Failure:
    """A property that does not hold for a program, which has been made as small as can be."""

    name: str
    graph: Graph
    error: Exception

    def reproducer(self) -> Reproducer:
        """What is left of it in texts."""
        error = self.error.render() if isinstance(self.error, Error) else str(self.error)
        return Reproducer(self.name, full_text(self.graph), f"{type(self.error).__name__}: {error}")


@dataclass(frozen=True)
class Reproducer:
    """The text of a program, and what fails on it."""

    name: str
    text: str
    error: str

    def write(self, folder: Path) -> None:
        """Write the program, the error, and the command that sees it again."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "module.lutra-ir").write_text(self.text, encoding="utf-8")
        (folder / "error.txt").write_text(self.error + "\n", encoding="utf-8")
        command = "python -m benchmarks.random_graphs --replay module.lutra-ir"
        (folder / "command.txt").write_text(command + "\n", encoding="utf-8")


@dataclass
class Findings:
    """By property what was seen; for each that failed one program."""

    tallies: dict[str, Tally] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)


class _Found(Exception):
    """Tells hypothesis of a failure."""


def hunt(
    strategy: st.SearchStrategy[Graph], checks: Mapping[str, Check], examples: int, seed: int = 0
) -> Findings:
    """Try all checks on so many programs. The first that fails a check is shrunk, others count."""
    findings = Findings({name: Tally() for name in checks})
    done = 0
    while done < examples:
        tried = _Search(checks, findings).run(strategy, examples - done, seed + done)
        if not tried:
            break
        done += tried
    return findings


class _Search:
    """Goes on until a check fails that has not failed before; then shrinks the program."""

    def __init__(self, checks: Mapping[str, Check], findings: Findings) -> None:
        self.checks, self.findings = checks, findings
        self.known = {failure.name for failure in findings.failures}
        self.failure: Failure | None = None
        self.tried = 0

    def run(self, strategy: st.SearchStrategy[Graph], examples: int, seed: int) -> int:
        @hypothesis.seed(seed)
        @settings(
            max_examples=examples,
            database=None,
            deadline=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
            verbosity=Verbosity.quiet,
            report_multiple_bugs=False,
        )
        @given(strategy)
        def search(graph: Graph) -> None:
            found = self.shrink(graph) if self.failure else self.try_all(graph)
            if found is not None:
                self.failure = found
                raise _Found(found.name)

        try:
            search()
        except (_Found, Flaky):
            assert self.failure is not None
            self.findings.failures.append(_trimmed(self.failure, self.checks[self.failure.name]))
        return self.tried

    def try_all(self, graph: Graph) -> Failure | None:
        self.tried += 1
        failures = list(self._failures(graph))
        return next((found for found in failures if found.name not in self.known), None)

    def _failures(self, graph: Graph) -> Iterator[Failure]:
        start = perf_counter()
        for name, error in try_all(graph, self.checks):
            tally, end = self.findings.tallies[name], perf_counter()
            tally.seconds += end - start
            tally.examples += not isinstance(error, Refused)
            tally.refused += isinstance(error, Refused)
            start = end
            if error is not None and not isinstance(error, Refused):
                tally.failures += 1
                yield Failure(name, graph, error)

    def shrink(self, graph: Graph) -> Failure | None:
        assert self.failure is not None
        return _failure(self.failure.name, self.checks[self.failure.name], graph)


def _failure(name: str, check: Check, graph: Graph) -> Failure | None:
    ((_, error),) = try_all(graph, {name: check})
    return None if error is None or isinstance(error, Refused) else Failure(name, graph, error)


def _trimmed(failure: Failure, check: Check) -> Failure:
    """The same without operations that nothing reads, where it fails without them too."""
    twin = failure.graph.clone()
    eliminate_dead_code(twin, Rewriter(twin))
    return _failure(failure.name, check, twin) or failure
