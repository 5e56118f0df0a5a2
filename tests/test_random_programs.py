"""What holds for every valid program, tried on random ones at all three levels.

`python -m benchmarks.random_graphs` tries the same on as many more as asked for.
"""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings

from lutra.ir.core import Graph
from lutra.ir.parser import parse_graph
from lutra.testing.hunt import hunt, programs
from lutra.testing.properties import (
    LEVELS,
    Refused,
    Trial,
    check_program,
    level_of,
    properties,
    try_all,
)


@settings(max_examples=120)
@given(programs("float"))
def test_networks(graph: Graph) -> None:
    check_program(graph)


@settings(max_examples=160)
@given(programs("quantized"))
def test_quantized_networks(graph: Graph) -> None:
    check_program(graph)


@settings(max_examples=220)
@given(programs("integer"))
def test_circuits(graph: Graph) -> None:
    check_program(graph)


# --- and whether that sees anything -------------------------------------------------------------
def test_every_level_is_told_from_its_programs() -> None:
    for level in LEVELS:
        made = hunt(programs(level), {"level": lambda trial, n=level: _is(trial, n)}, 20)
        assert made.tallies["level"].examples >= 20
        assert not made.failures


def _is(trial: Trial, level: str) -> None:
    assert trial.level == level_of(trial.graph) == level


def test_every_pass_that_is_exact_is_tried() -> None:
    for level in LEVELS:
        assert {"pass cse", "pass partition", "pass fold-constants"} <= properties(level).keys()
        assert not {"pass default", "pass round"} & properties(level).keys()


def test_what_fails_is_made_small_and_written(tmp_path: Path) -> None:
    def no_negation(trial: Trial) -> None:
        assert all(op.opname != "neg" for op in trial.graph.ops), "it negates"

    findings = hunt(programs("integer"), {"no negation": no_negation}, 60)
    assert findings.tallies["no negation"].examples >= 60
    assert findings.tallies["no negation"].failures > 1
    (failure,) = findings.failures
    assert [op.opname for op in failure.graph.ops] == ["input", "neg", "return"]
    failure.reproducer().write(tmp_path / "found")
    again = parse_graph((tmp_path / "found" / "module.lutra-ir").read_text())
    assert [op.opname for op in again.ops] == ["input", "neg", "return"]
    assert "it negates" in (tmp_path / "found" / "error.txt").read_text()


def test_refusals_are_told_from_failures() -> None:
    def refuse(trial: Trial) -> None:
        raise Refused("too wide")

    graph = parse_graph("%x = input : u2[] in [0, 3]\n%0 = neg %x\nreturn %0")
    ((_, error),) = try_all(graph, {"width": refuse})
    assert isinstance(error, Refused)
    tally = hunt(programs("integer"), {"width": refuse}, 5).tallies["width"]
    assert (tally.examples, tally.failures) == (0, 0)
    assert tally.refused >= 5
