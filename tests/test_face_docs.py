"""The page on models works as it shows."""

import shutil
from pathlib import Path

import pytest

from test_docs import DOCS, ROOT, assert_python_prints, blocks, run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for ending in ("onnx", "npz"):
        shutil.copy(ROOT / "examples" / "models" / f"iris_fc.{ending}", tmp_path)
    return tmp_path


def test_python_works_as_shown(folder: Path) -> None:
    assert_python_prints(DOCS / "models.md", folder)


@pytest.mark.encrypted
def test_commands_work_as_shown(folder: Path) -> None:
    (commands,) = (block.text for block in blocks(DOCS / "models.md") if block.language == "sh")
    printed = run(f"set -e\n{commands}", folder)
    assert "| total" in printed
    assert "y: float32[3, 3]" in printed
    assert (folder / "results.npz").exists()
