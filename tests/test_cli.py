"""The command line."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner, Result

import lutra
from lutra import datafile
from lutra.bars import bars
from lutra.cli import app
from lutra.passes import registry
from small_models import mlp, points


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: model.onnx, data.npz with x_train and x_test, x.npy."""
    monkeypatch.chdir(tmp_path)
    onnx.save(mlp(), "model.onnx")
    np.savez("data.npz", x_train=points(), x_test=points(20, seed=5))
    np.save("x.npy", points(20, seed=5))
    return tmp_path


def lutra_(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def succeeds(*arguments: object) -> str:
    result = lutra_(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def fails(code: str, *arguments: object) -> str:
    result = lutra_(*arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error[{code}]: ")
    assert "Traceback" not in result.stderr
    assert not result.stdout
    return result.stderr


def compile_model(*options: object) -> str:
    return succeeds("compile", "model.onnx", "-c", "data.npz:x_train", *options)


def test_compile_and_run(folder: Path) -> None:
    text = compile_model("-p", "default{rounding=4}", "--p-error", "0.001")
    assert "fc1 + act" in text
    assert "model.lutra" in text
    model = lutra.load("model.lutra")
    assert model.pipeline == "default{rounding=4}"
    assert model.options == {"p_error": 0.001}

    printed = succeeds("run", "model.lutra", "data.npz:x_test", "-o", "y.npz")
    assert "y: float32[20, 2]" in printed
    assert "10 more" in printed
    with np.load("y.npz") as results:
        np.testing.assert_array_equal(results["y"], model.predict(points(20, seed=5)))
    assert "y: float32[3, 2]" in succeeds("run", "model.lutra", "x.npy", "-n", 3, "-m", "simulate")


def test_run_one_sample_in_the_models_own_shape(folder: Path) -> None:
    onnx.save(mlp(batch="3"), "model.onnx")
    np.savez("data.npz", x_train=points(30).reshape(10, 3, 2), one=points(3))
    compile_model("-o", "m.lutra")
    assert "y: float32[3, 2]" in succeeds("run", "m.lutra", "data.npz:one", "-n", 1)
    assert "y: float32[2, 3, 2]" in succeeds("run", "m.lutra", "data.npz:x_train", "-n", 2)


def test_inputs_by_name(folder: Path) -> None:
    np.savez("data.npz", x=points(), labels=np.zeros(100))
    succeeds("compile", "model.onnx", "-c", "data.npz", "-o", "m.lutra")
    assert "y: float32[4, 2]" in succeeds("run", "m.lutra", "data.npz", "-n", 4)


def test_values_out_of_range_are_reported(folder: Path) -> None:
    np.savez("few.npz", np.array([[0.1, 0.1], [-1, 1]]))
    succeeds("compile", "model.onnx", "-c", "few.npz", "-p", "default{margin=0.0}")
    result = lutra_("run", "model.lutra", "data.npz:x_test")
    assert "value(s) left the range that calibration observed" in result.stderr
    assert "left the range" not in result.stdout


def test_inspect(folder: Path) -> None:
    compile_model()
    assert "fc1 + act" in succeeds("inspect", "model.lutra", "--no-price")
    assert "graph circuit {" in succeeds("inspect", "model.lutra", "--text")


def test_open_shapes(folder: Path) -> None:
    compile_model("--shape", "x=1,2")
    fails("I005", "compile", "model.onnx", "--shape", "x=one")
    fails("I004", "compile", "model.onnx", "--shape", "z=1,2")


def test_passes() -> None:
    listed = succeeds("passes")
    assert all(name in listed for name in registry.names())
    shown = succeeds("passes", "round")
    assert "bits = 6" in shown
    assert "lossy" in shown
    assert "round" in fails("P001", "passes", "rond")


def test_version_and_help() -> None:
    assert succeeds("--version") == f"lutra {lutra.__version__}\n"
    listed = succeeds("--help")
    assert all(command in listed for command in ("compile", "run", "inspect", "passes"))
    assert "typical inputs" in succeeds("compile", "--help")
    assert lutra_("compil").exit_code == 2


def test_it_is_a_module_too() -> None:
    command = [sys.executable, "-m", "lutra", "--version"]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout == f"lutra {lutra.__version__}\n"


def test_errors(folder: Path) -> None:
    compile_model()
    Path("cut.onnx").write_bytes(Path("model.onnx").read_bytes()[:50])
    Path("cut.lutra").write_bytes(Path("model.lutra").read_bytes()[:500])
    fails("F001", "compile", "none.onnx")
    fails("F001", "compile", "cut.onnx", "-c", "data.npz:x_train")
    fails("C003", "compile", "model.onnx")
    fails("A001", "run", "cut.lutra", "data.npz:x_test")
    fails("I005", "run", "model.lutra", "data.npz:x_test", "-m", "plain")
    fails("B001", "compile", "model.onnx", "-c", "data.npz:x_train", "-b", "seal")


def test_results_that_cannot_be_written(folder: Path) -> None:
    compile_model()
    assert "none/y.npz" in fails("I004", "run", "none.lutra", "x.npy", "-o", "none/y.npz")
    fails("I004", "compile", "none.onnx", "-o", "none/model.lutra")


# --- data files -----------------------------------------------------------------------------------
def test_data_files(folder: Path) -> None:
    x = points(20, seed=5)
    for source in ("data.npz:x_test", "x.npy"):
        np.testing.assert_array_equal(datafile.read(source), x)
    np.savez("only.npz", anything=x)
    np.savez("with:colon.npz", anything=x)
    for source in ("only.npz", "with:colon.npz", "with:colon.npz:anything"):
        np.testing.assert_array_equal(datafile.read(source), x)
    found = datafile.read("data.npz", ["x_test"])
    assert isinstance(found, dict)
    assert list(found) == ["x_test"]


def test_data_files_that_do_not_fit(folder: Path) -> None:
    np.savez("objects.npz", x=np.array([{}]))
    Path("cut.npz").write_bytes(Path("data.npz").read_bytes()[:300])
    Path("empty.npz").write_bytes(b"")
    for source, code in {
        "none.npz": "I004",
        "none.npz:x": "I004",
        "data.npz": "I004",
        "data.npz:x_tset": "I004",
        "objects.npz:x": "I002",
        "cut.npz:x_train": "I002",
        "empty.npz": "I002",
        "model.onnx": "I002",
        ".": "I004",
    }.items():
        with pytest.raises(lutra.Error) as caught:
            datafile.read(source)
        assert caught.value.code == code, source


# --- progress -------------------------------------------------------------------------------------
def test_bars_are_drawn_on_terminals_only() -> None:
    from io import StringIO

    from rich.console import Console

    for terminal in (False, True):
        stream = StringIO()
        with bars(Console(file=stream, force_terminal=terminal)) as progress:
            assert (progress is not None) is terminal
            if progress is not None:
                for done in range(3):
                    progress("samples", done, 2)
                progress("key generation", 0, 1)
        assert ("samples" in stream.getvalue()) is terminal
