"""Trials run once, survive what goes wrong, and leave a row each."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fake_packages import Install
from lutra.cli import app
from lutra.experiment import run_experiment
from lutra.experiment.rows import Row

MODELS = Path(__file__).parents[1] / "examples" / "models"

FILE = f"""
models = ["{MODELS}/iris_fc.onnx", "{MODELS}/logreg14.onnx"]
backend = "numpy"
metrics = ["accuracy", "simulated_accuracy", "agreement", "pbs", "lookup_bits", "seconds"]

[data]
samples = 50

[pipelines]
wide = "default{{rounding=$r}}"

[grid]
r = [5, 6]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "bits.toml"
    path.write_text(FILE)
    return path


class Watch(list[str]):
    """A progress that notes the trials that really run."""

    def __call__(self, row: Row, done: int, total: int) -> None:
        self.append(f"{row['model']} {row['text']} {done}/{total}")


def test_trials_leave_rows_and_run_once(file: Path) -> None:
    ran = Watch()
    rows = run_experiment(file, progress=ran)
    assert ran == [
        "iris_fc default{rounding=5} 1/4",
        "iris_fc default{rounding=6} 2/4",
        "logreg14 default{rounding=5} 3/4",
        "logreg14 default{rounding=6} 4/4",
    ]
    assert [(row["model"], row["r"]) for row in rows] == [
        *(("iris_fc", 5), ("iris_fc", 6)),
        *(("logreg14", 5), ("logreg14", 6)),
    ]
    widest = [int(str(row["lookup_bits"])) for row in rows]
    assert widest[0] == 5
    assert widest[1] in (5, 6)  # large look-ups may be split
    assert widest[2:] == [0, 0]
    counts = [int(str(row["pbs"])) for row in rows]
    assert 40 < counts[0] <= 60
    assert 40 < counts[1] <= 3 * 60
    assert counts[2:] == [0, 0]
    assert all(0.9 < float(row["accuracy"]) <= 1 and float(row["seconds"]) > 0 for row in rows)
    assert "numpy 1." in str(rows[0]["versions"])
    assert run_experiment(file, progress=ran) == rows
    assert len(ran) == 4


def test_what_several_trials_ask_for_is_measured_once(file: Path) -> None:
    rows = run_experiment(file)
    file.write_text(
        FILE.replace(
            "wide =", 'plain = "default{rounding=6}"\nfull = "default{rounding=6}"\nwide ='
        )
    )
    again = run_experiment(file)
    named = {(row["model"], row["pipeline"], row.get("r")): row for row in again}
    places = (("plain", None), ("full", None), ("wide", 6))
    plain, full, wide = (named["iris_fc", name, r] for name, r in places)
    assert plain["seconds"] == full["seconds"] == wide["seconds"] == rows[1]["seconds"]
    assert len({plain["key"], full["key"], wide["key"]}) == 3
    assert run_experiment(file) == again
    assert len(file.with_suffix(".csv").read_text().splitlines()) == 1 + 2 * 4


def test_a_row_cut_short_costs_one_trial(file: Path) -> None:
    rows = run_experiment(file)
    results = file.with_suffix(".csv")
    results.write_bytes(results.read_bytes()[:-20])
    ran = Watch()
    again = run_experiment(file, executor=ThreadPoolExecutor(2), progress=ran)
    assert ran == ["logreg14 default{rounding=6} 4/4"]
    assert [row["key"] for row in again] == [row["key"] for row in rows]


def test_what_fails_is_a_row_and_is_retried_on_demand(file: Path) -> None:
    file.write_text(
        FILE.replace("[5, 6]", '["none"]')
        .replace("rounding=$r", "activations=12,rounding=$r")
        .replace('"pbs"', '"price", "pbs"')
    )
    iris, logreg = run_experiment(file)
    assert iris["error"] == "B003"
    assert "look-up" in str(iris["message"])
    assert "accuracy" not in iris
    # Backend numpy knows no price; what can be measured is.
    assert logreg["error"] == "X003"
    assert str(logreg["message"]).startswith("price: ")
    assert logreg["pbs"] == 0
    ran = Watch()
    run_experiment(file, progress=ran)
    assert not ran
    run_experiment(file, retry=True, progress=ran)
    assert len(ran) == 2


def test_the_command_fails_where_all_trials_do(file: Path) -> None:
    text = FILE.replace("[5, 6]", '["none"]').replace("rounding=$r", "activations=12,rounding=$r")
    for metric, status in (("price", 1), ("pbs", 0)):
        file.write_text(text.replace('"pbs"', f'"{metric}"'))
        ran = CliRunner().invoke(
            app, ["experiment", "run", str(file), "-o", f"{file}-{metric}.csv"]
        )
        assert ran.exit_code == status, ran.output


def test_data_without_the_arrays_are_an_error_row(file: Path) -> None:
    file.write_text(FILE.replace("samples = 50", 'calibration = "x_trian"\nlabels = "y"'))
    row = run_experiment(file)[0]
    assert row["error"] == "X001"
    assert "no array 'x_trian'" in str(row["message"])
    file.write_text(FILE.replace("samples = 50", 'labels = "y"'))
    row = run_experiment(file)[0]
    assert (row["error"], row["message"]) == ("X003", "accuracy: the model's data hold no labels")
    assert 40 < int(str(row["pbs"])) <= 60


@pytest.fixture
def plugin(install: Install) -> None:
    """An installed package with metrics; processes that are spawned see it too."""
    names = ("inputs", "dies", "raises", "text", "missing")
    points = "\n".join(f"{name} = strange:{name}" for name in names)
    install("strange", {"lutra.metrics": points}, STRANGE)


STRANGE = """
import os

def inputs(compiled, factor=1):
    return factor * compiled.inputs["x"].size

def dies(compiled):
    return 1 if inputs(compiled) > 200 else os._exit(3)

def raises(compiled):
    return {}["x"]

def text(compiled):
    return "many"
"""


@pytest.mark.usefixtures("plugin")
def test_plugins_metrics_take_options_and_may_fail(file: Path) -> None:
    text = FILE.replace("[5, 6]", "[5]").replace('"accuracy"', '"raises", "accuracy"')
    file.write_text(text)
    row = run_experiment(file)[0]
    assert (row["error"], row["message"]) == ("X005", "raises: KeyError: 'x'")
    assert "strange 1.0+" in str(row["versions"])
    assert 40 < int(str(row["pbs"])) <= 60
    listed = [line for line in text.splitlines() if not line.startswith("metrics")]
    options = "[metrics]\ntwice = { metric = 'inputs', factor = 2 }\nwords = { metric = 'text' }"
    file.write_text("\n".join([*listed, options]))
    row = run_experiment(file)[0]
    assert row["twice"] == 2 * 50 * 4
    assert row["message"] == "words: metric 'text' gives 'many', which is no number"
    file.write_text("\n".join([*listed, "[metrics]\nmissing = {}"]))
    with pytest.raises(Exception, match=r"P007.*'missing' of strange"):
        run_experiment(file)


@pytest.mark.usefixtures("plugin")
def test_a_trial_that_ends_its_process_is_a_row_and_the_others_go_on(file: Path) -> None:
    file.write_text(FILE.replace('"accuracy", ', '"dies", ').replace("[5, 6]", "[5]"))
    rows = run_experiment(file, jobs=2)
    codes = [(row["model"], row.get("error"), row.get("dies")) for row in rows]
    assert codes == [("iris_fc", "X004", None), ("logreg14", None, 1)]


def test_results_gain_columns_and_keep_rows(file: Path) -> None:
    run_experiment(file)
    file.write_text(FILE.replace('"seconds"', '"value_bits"'))
    rows = run_experiment(file)
    lines = file.with_suffix(".csv").read_text().splitlines()
    assert len(lines) == 1 + 4 + 4
    assert lines[0].endswith(",started,value_bits")
    assert all(row["value_bits"] for row in rows)


def test_parquet_holds_the_same_rows(file: Path) -> None:
    pytest.importorskip("pyarrow", exc_type=ImportError)
    target = file.with_suffix(".parquet")
    rows = run_experiment(file, target)
    ran = Watch()
    assert run_experiment(file, target, progress=ran) == rows
    assert not ran


@pytest.mark.parametrize("content", ["a,b\n1,2\n", "\xff\xfe"])
def test_other_files_are_left_alone(file: Path, content: str) -> None:
    results = file.with_suffix(".csv")
    results.write_bytes(content.encode("latin-1"))
    with pytest.raises(Exception, match="X006"):
        run_experiment(file)
    assert results.read_bytes() == content.encode("latin-1")
    with pytest.raises(Exception, match=r"X006.*\.csv or \.parquet"):
        run_experiment(file, file.with_suffix(".json"))


def test_price_is_concretes_own(file: Path) -> None:
    text = FILE.replace('backend = "numpy"', "").replace("[5, 6]", "[5]")
    lines = [line for line in text.splitlines() if "metrics" not in line and "logreg" not in line]
    models = f'models = ["{MODELS}/iris_fc.onnx"]'
    options = "[metrics]\nprice = {}\ncheap = { metric = 'price', p_error = 1e-2 }\nkey_bytes = {}"
    file.write_text("\n".join([models, *lines, options]))
    (row,) = run_experiment(file)
    assert "error" not in row, json.dumps(row)
    assert 0 < float(row["cheap"]) < float(row["price"])
    assert float(row["key_bytes"]) > 1e6


@pytest.mark.encrypted
def test_encrypted_samples_are_measured(file: Path) -> None:
    file.write_text(
        f"""
        models = ["{MODELS}/logreg14.onnx"]
        pipelines = {{ default = "default" }}
        [metrics]
        encrypted_agreement = {{ samples = 2 }}
        encrypted_equal = {{ samples = 2 }}
        encrypted_seconds = {{ samples = 2 }}
        keygen_seconds = {{ samples = 2 }}
        emission_seconds = {{ samples = 2 }}
        """
    )
    (row,) = run_experiment(file)
    assert (row["encrypted_agreement"], row["encrypted_equal"]) == (1, 1)
    assert all(float(row[f"{what}_seconds"]) > 0 for what in ("encrypted", "keygen", "emission"))


def test_backends_that_do_not_encrypt_say_so(file: Path) -> None:
    file.write_text(FILE.replace('"agreement"', '"encrypted_agreement", "equal"'))
    row = run_experiment(file)[0]
    assert row["error"] == "X003"
    assert "`numpy` does not encrypt" in str(row["message"])
    assert 0 <= float(row["equal"]) < 1
