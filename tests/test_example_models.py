"""The table of the example models says what onnxruntime measures."""

import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

MODELS = Path(__file__).parents[1] / "examples" / "models"
ROWS = dict(
    re.findall(
        r"^\| `(\w+)` .*\| (\d+ \| \d\.\d+) \|$",
        (MODELS / "README.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
)


@pytest.mark.parametrize("path", sorted(MODELS.glob("*.onnx")), ids=lambda path: path.stem)
def test_float_accuracy(path: Path) -> None:
    session = onnxruntime.InferenceSession(path)
    with np.load(path.with_suffix(".npz")) as data:
        x, labels = data["x_test"], data["y_test"]
    (y,) = session.run(["y"], {"x": x})
    predicted = y[:, 0] > 0.5 if y.shape[1] == 1 else y.argmax(axis=1)
    assert ROWS[path.stem] == f"{len(labels)} | {np.mean(predicted == labels):.3f}"
