"""Tries properties on random programs, and shrinks the programs that they do not hold for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from time import perf_counter

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky

from lutra.ir.core import Graph
from lutra.testing.graphs import INTEGER_OPS, integer_graphs, quantized_graphs
from lutra.testing.layers import float_graphs
from lutra.testing.properties import Check, Refused, Trial


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
            self.findings.failures.append(self.failure)
        return self.tried

    def try_all(self, graph: Graph) -> Failure | None:
        self.tried += 1
        failures = list(self._failures(graph))
        return next((found for found in failures if found.name not in self.known), None)

    def _failures(self, graph: Graph) -> Iterator[Failure]:
        trial = Trial(graph)
        for name, check in self.checks.items():
            tally = self.findings.tallies[name]
            start = perf_counter()
            try:
                check(trial)
                tally.examples += 1
            except Refused:
                tally.refused += 1
            except Exception as error:  # whatever is wrong
                tally.examples += 1
                tally.failures += 1
                yield Failure(name, graph, error)
            finally:
                tally.seconds += perf_counter() - start

    def shrink(self, graph: Graph) -> Failure | None:
        assert self.failure is not None
        name = self.failure.name
        try:
            self.checks[name](Trial(graph))
        except Refused:
            pass
        except Exception as error:  # whatever is wrong
            return Failure(name, graph, error)
        return None
