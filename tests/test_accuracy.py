"""The shipped models keep their accuracy, in integers and with few bits at the look-ups."""

from pathlib import Path

import numpy as np
import pytest

import lutra
from lutra.experiment.metrics import classes
from lutra.ir.analysis import look_ups

MODELS = Path(__file__).parents[1] / "examples" / "models"


@pytest.mark.parametrize(
    ("name", "pipeline", "float_accuracy", "points", "bits"),
    [
        ("logreg14", "default", 0.992, 1, 6),
        ("iris_fc", "default", 0.980, 1, 6),
        ("digits_cnn", "default", 0.969, 1, 6),
        ("digits_cnn", "default{weights=4,rounding=4}", 0.969, 1, 4),
        # two inputs and a sharp boundary: these need precision
        ("checker_10", "default{rounding=8,weights=8,inputs=10,activations=10}", 0.968, 2, 8),
        ("checker_30", "default{rounding=8}", 1.000, 3, 8),
        ("checker_100", "default{rounding=8}", 1.000, 3, 8),
    ],
)
def test_accuracy_in_integers(
    name: str, pipeline: str, float_accuracy: float, points: float, bits: int
) -> None:
    with np.load(MODELS / f"{name}.npz") as data:
        model = lutra.compile(MODELS / f"{name}.onnx", data["x_train"], pipeline)
        right = classes(np.asarray(model.predict(data["x_test"]))) == data["y_test"]
    assert max((site.bits for site in look_ups(model.module.circuit)), default=0) <= bits
    assert np.mean(right) >= float_accuracy - points / 100


def test_transformer_in_simulation() -> None:
    """Attention, softmax and layer normalization under encryption, with the errors of look-ups."""
    with np.load(MODELS / "digits_transformer.npz") as data:
        path, pipeline = MODELS / "digits_transformer.onnx", "wide{rounding=6,split=none}"
        model = lutra.compile(path, data["x_train"][:600], pipeline)
        found = model.predict(data["x_test"], mode="simulate", seed=0)
        right = classes(np.asarray(found)) == data["y_test"]
    assert max(site.bits for site in look_ups(model.module.circuit)) <= 6
    assert np.mean(right) >= 0.958 - 0.01
