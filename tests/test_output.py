"""What commands print for scripts, and what they log."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import lutra
from lutra.cli import app
from lutra.output import print_json, show_log
from small_models import FEW_BITS, mlp, points


@pytest.fixture(autouse=True)
def logger() -> Iterator[logging.Logger]:
    """Lutra's logger, as it was before."""
    found = logging.getLogger("lutra")
    handlers, level = found.handlers, found.level
    yield found
    found.handlers, found.level = handlers, level
    found.setLevel(level)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of few bits for backend `numpy`, and samples for it."""
    found = tmp_path_factory.mktemp("output")
    lutra.compile(mlp(), points(), FEW_BITS, backend="numpy").save(found / "m.lutra")
    (found / "m.onnx").write_bytes(mlp().SerializeToString())
    np.savez(found / "x.npz", x=points())
    return found


def run(*arguments: object) -> Any:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_numbers_of_all_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": np.arange(2), "b": np.float32(0.5), "c": float("inf"), "d": (np.True_, "x")})
    assert json.loads(capsys.readouterr().out) == {
        "a": [0, 1],
        "b": 0.5,
        "c": None,
        "d": [True, "x"],
    }


def test_commands_print_json(folder: Path) -> None:
    model = lutra.load(folder / "m.lutra")
    x, target = f"{folder}/x.npz:x", folder / "again.lutra"
    compiled = run("compile", folder / "m.onnx", "-c", x, "-p", FEW_BITS, "-o", target, "--json")
    assert compiled["written"] == str(target)
    assert compiled["pbs"] == model.pbs_count
    inspected = run("inspect", folder / "m.lutra", "--json")
    assert [layer["bits"] for layer in inspected["layers"]] == [
        layer.type.bits for layer in model.report().layers
    ]
    assert run("inspect", folder / "m.lutra", "--text", "--json")["text"] == str(model.module)
    predicted = run("run", folder / "m.lutra", x, "--samples", 3, "--json")
    (outputs,) = predicted["outputs"].values()
    np.testing.assert_allclose(outputs, model.predict(points()[:3]), rtol=1e-6)


@pytest.mark.parametrize(
    ("verbosity", "seen"), [(0, set()), (1, {"compiled in"}), (2, {"compiled in", "calibrate"})]
)
def test_steps_are_logged(
    verbosity: int, seen: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    show_log(verbosity)
    lutra.compile(mlp(), points(), FEW_BITS)
    printed = capsys.readouterr()
    assert {text for text in ("compiled in", "calibrate") if text in printed.err} == seen
    assert not printed.out


def test_the_library_alone_is_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    lutra.compile(mlp(), points(), FEW_BITS)
    assert capfd.readouterr() == ("", "")
