"""Every pass has examples; each says what the pass does, and the pass keeps its contract on it."""

from pathlib import Path

import numpy as np
import pytest

import strategies
from lutra.ir.core import Module
from lutra.ir.errors import PipelineError
from lutra.ir.parser import parse_module
from lutra.ir.program import Program
from lutra.ir.types import Array, Int
from lutra.ir.verifier import verify
from lutra.passes import Pipeline, registry
from lutra.passes.ordering import check_order
from pass_files import DATA, PassFile, all_files, full_text

FILES = all_files()
REFIT = {"fit-weights"}
"""Passes that fit anew what they find, and so change their own results."""


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.fixture(params=FILES, ids=name_of)
def example(request: pytest.FixtureRequest) -> PassFile:
    return PassFile.read(request.param)


def test_every_pass_has_an_example() -> None:
    assert {path.parent.name for path in FILES} == set(registry.built_in())


def test_the_text_is_as_written(example: PassFile, pytestconfig: pytest.Config) -> None:
    if pytestconfig.getoption("regenerate", default=False):
        example.regenerated().write()
        return
    assert any(item.name == example.path.parent.name for item in example.pipeline.items)
    assert example.outcome() == next(
        (name, text) for name, text in example.sections.items() if name in ("after", "error")
    )


def module_after(example: PassFile) -> Module:
    if "after" not in example.sections:
        pytest.skip("the example shows an error")
    return parse_module(example.sections["after"])


def test_the_result_is_valid_and_reads_back(example: PassFile) -> None:
    after = module_after(example)
    verify(after)
    assert full_text(after) == example.sections["after"]


def test_a_second_run_changes_nothing(example: PassFile) -> None:
    after = module_after(example)
    if example.path.parent.name in REFIT:
        pytest.skip("the pass fits anew")
    try:
        check_order(example.pipeline.flat(), after)
    except PipelineError:
        pytest.skip("the pass does not apply to its result")
    example.pipeline.execute(after, example.context)
    assert full_text(after) == example.sections["after"]


def inputs(module: Module) -> dict[str, Array]:
    """All inputs of a small circuit, else some."""
    graph = module.encode if module.partitioned else module.main
    integers = all(isinstance(node.type, Int) for node in graph.inputs)
    every = strategies.every_input(graph) if integers else None
    arrays = every if every is not None else strategies.samples(graph, count=64)
    return {node.name: array for node, array in zip(graph.inputs, arrays, strict=True)}


def test_the_contract_holds(example: PassFile) -> None:
    old, new = Program(example.before()), Program(module_after(example))
    eps = sum(item.contract.eps for item in example.pipeline.flat())
    feeds = inputs(old.module)
    for a, b in zip(old.run(feeds), new.run(feeds), strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        if np.isfinite(eps) and not (old.violations or new.violations):
            noise = 1e-6 if a.dtype.kind == "f" else 0.0
            assert np.abs(a - b).max() <= (eps + noise) * np.abs(a).max()


def test_files_are_well_kept() -> None:
    """Small, in folders of passes, in one form."""
    for path in FILES:
        example = PassFile.read(path)
        assert len(path.read_text(encoding="utf-8").splitlines()) < 80, path
        assert isinstance(example.pipeline, Pipeline)
    assert all(path.suffix == ".txt" for path in DATA.glob("*/*"))
