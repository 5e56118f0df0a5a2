"""Tables and plots of results, and the command line."""

import io
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from lutra.experiment import plot, show
from lutra.experiment.cli import app
from lutra.experiment.rows import Row
from lutra.experiment.spec import Plot

MODELS = Path(__file__).parents[1] / "examples" / "models"

ROWS: list[Row] = [
    {"key": "1", "model": "a", "pipeline": "wide", "r": 4, "accuracy": 0.91234, "price": 2e9},
    {"key": "2", "model": "a", "pipeline": "wide", "r": 5, "accuracy": 0.95, "price": 3e9},
    {"key": "3", "model": "b", "pipeline": "wide", "r": 4, "error": "B004", "message": "too wide"},
    {"key": "4", "model": "b", "pipeline": "narrow", "accuracy": 1, "price": 1e12},
]


def test_a_table_shows_what_was_measured_and_what_failed() -> None:
    target = io.StringIO()
    Console(file=target, width=120).print(show.table(ROWS))
    lines = [line.split("│") for line in target.getvalue().splitlines() if "│" in line]
    cells = [[cell.strip() for cell in line[1:-1]] for line in lines]
    assert cells == [
        ["a", "wide", "4", "0.9123", "2e+09", "", ""],
        ["a", "wide", "5", "0.95", "3e+09", "", ""],
        ["b", "wide", "4", "", "", "B004", "too wide"],
        ["b", "narrow", "", "1", "1e+12", "", ""],
    ]


def test_series_hold_the_rows_that_have_both_numbers() -> None:
    found = plot.series(Plot("r", "accuracy"), ROWS)
    assert found == {("a",): [(4, 0.91234), (5, 0.95)]}
    found = plot.series(Plot("price", "accuracy", ("model", "pipeline")), ROWS)
    assert list(found) == [("a", "wide"), ("b", "narrow")]


@pytest.mark.parametrize(("ending", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_plots_are_drawn(tmp_path: Path, ending: str, magic: bytes) -> None:
    path = tmp_path / "figures" / f"plot.{ending}"
    wanted = Plot("price", "accuracy", ("model", "pipeline"), "x")
    assert plot.draw(wanted, ROWS, path) == 3
    assert path.read_bytes().startswith(magic)
    assert plot.draw(Plot("r", "accuracy"), [], path) == 0


def test_the_command_line_runs_and_shows(tmp_path: Path) -> None:
    file = tmp_path / "bits.toml"
    file.write_text(
        f"""
        models = ["{MODELS}/iris_fc.onnx"]
        backend = "numpy"
        metrics = ["accuracy", "pbs"]
        data = {{ samples = 50 }}
        pipelines = {{ wide = "default{{rounding=$r}}" }}
        grid = {{ r = [5, 6] }}
        plots = [{{ x = "r", y = "accuracy" }}]
        """
    )
    runner = CliRunner()
    ran = runner.invoke(app, ["run", str(file)], catch_exceptions=False)
    assert ran.exit_code == 0
    assert "2 trials, 0 failed" in ran.stdout
    shown = runner.invoke(app, ["show", str(file)], catch_exceptions=False)
    assert shown.stdout.count("iris_fc") == 2
    assert "bits-r-accuracy.png: 2 points" in shown.stdout
    file.write_text(file.read_text().replace("[5, 6]", "[4, 5]").replace("= 50", "= 51"))
    asked = ["show", str(file), "--plot", "accuracy:pbs", "--format", "svg"]
    shown = runner.invoke(app, asked, catch_exceptions=False)
    assert "1 of 2 trials have not run yet" in shown.stdout
    assert "1 of 2 rows are of other versions, data or metrics" in shown.stdout
    assert (tmp_path / "bits-accuracy-pbs.svg").exists()
