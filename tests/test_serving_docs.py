"""The page on client and server shows what happens."""

import shutil
from pathlib import Path

import pytest

from test_docs import DOCS, ROOT, assert_python_prints


@pytest.mark.encrypted
def test_serving_works_as_shown(tmp_path: Path) -> None:
    for ending in ("onnx", "npz"):
        shutil.copy(ROOT / "examples" / "models" / f"iris_fc.{ending}", tmp_path)
    assert_python_prints(DOCS / "serving.md", tmp_path)
