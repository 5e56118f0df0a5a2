"""Every pass has examples; each says what the pass does, and the pass keeps its contract on it."""

from pathlib import Path

import pytest

import example_ops
from lutra.passes import registry
from lutra.testing import PassFile
from onnx_models import OLD_RUNTIME

DATA = Path(__file__).parent / "data"
FILES = sorted(DATA.glob("*/*.txt"))
REFIT = {"fit-weights"}
"""Passes that fit anew what they find, and so change their own results."""


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def test_every_pass_has_an_example() -> None:
    assert {path.parent.name for path in FILES} == set(registry.built_in())
    assert example_ops.Square.opname == "example.square"  # which the examples of `decompose` hold


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_example(path: Path, pytestconfig: pytest.Config) -> None:
    example = PassFile.read(path)
    if pytestconfig.getoption("regenerate", default=False):
        example.regenerated().write()
        return
    if OLD_RUNTIME and path.stem == "qoperator":
        pytest.skip("this onnxruntime has no ConvInteger")
    assert any(item.name == path.parent.name for item in example.pipeline.items)
    example.check(idempotent=path.parent.name not in REFIT)


def test_files_are_well_kept() -> None:
    """Small, in folders of passes, in one form."""
    assert all(path.suffix == ".txt" for path in DATA.glob("*/*"))
    for path in FILES:
        assert len(path.read_text(encoding="utf-8").splitlines()) < 80, path
