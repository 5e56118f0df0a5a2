"""What each layer's choices cost."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import lutra
from lutra.cli import app
from lutra.figure import check_figure
from lutra.ir.errors import Error

MODELS = Path(__file__).parents[1] / "examples" / "models"


@pytest.fixture(scope="module")
def found() -> lutra.Sensitivity:
    with np.load(MODELS / "iris_fc.npz") as data:
        return lutra.analyze(
            MODELS / "iris_fc.onnx",
            data["x_train"],
            "default{weights=3,rounding=4}",
            inputs=data["x_test"],
            labels=data["y_test"],
        )


def test_every_layer_and_role_is_there(found: lutra.Sensitivity) -> None:
    rows = {(cost.layer, cost.role): cost.bits for cost in found.costs}
    assert rows == {
        ("/0/Gemm", "weights"): 3,
        ("/0/Gemm", "rounding"): 4,
        ("/0/Gemm", "activations"): 8,
        ("/2/Gemm", "weights"): 3,
        ("/2/Gemm", "rounding"): 4,
        ("/2/Gemm", "activations"): 8,
        ("/4/Gemm", "weights"): 3,
        ("all", "weights"): 3,
        ("all", "rounding"): 4,
        ("all", "activations"): 8,
    }


def test_coarse_choices_cost_more_than_fine_ones(found: lutra.Sensitivity) -> None:
    error = {(cost.layer, cost.role): cost.error for cost in found.costs}
    assert error["/0/Gemm", "rounding"] > 5 * error["/0/Gemm", "activations"] > 0
    assert error["all", "weights"] > error["/0/Gemm", "weights"] > 0


def test_the_plot_is_a_picture(found: lutra.Sensitivity, tmp_path: Path) -> None:
    found.plot(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_other_pipelines_and_wrong_labels_are_refused() -> None:
    with np.load(MODELS / "iris_fc.npz") as data:
        x = data["x_train"]
    with pytest.raises(Error, match="I005"):
        lutra.analyze(MODELS / "iris_fc.onnx", x, "clean,dce")
    with pytest.raises(Error, match=r"I001.*labels of shape \(3,\) for 100 samples"):
        lutra.analyze(MODELS / "iris_fc.onnx", x, labels=np.zeros(3))
    with pytest.raises(Error, match="C003"):
        lutra.analyze(MODELS / "iris_fc.onnx", None)


def test_the_command_line_shows_the_table() -> None:
    data = MODELS / "logreg14.npz"
    arguments = ["inspect", str(MODELS / "logreg14.onnx"), "--sensitivity"]
    arguments += ["-c", f"{data}:x_train", "--data", f"{data}:x_test", "--labels", f"{data}:y_test"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "/fc/Gemm" in done.output
    assert "points" in done.output


@pytest.mark.parametrize(("name", "code"), [("s.foo", "I005"), ("nowhere/s.png", "I004")])
def test_figures_are_refused_before_the_work(tmp_path: Path, name: str, code: str) -> None:
    with pytest.raises(Error) as error:
        check_figure(tmp_path / name)
    assert error.value.code == code
