"""`lutra.tune` and its parts."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import lutra
from lutra.cli import app
from lutra.frontends.registry import import_source
from lutra.ir.errors import InputError
from lutra.passes import Pipeline
from lutra.security import STRICT, check_p_error
from lutra.tuning.api import brings_quantization
from lutra.tuning.evidence import expected_changes, loss, worst_loss
from lutra.tuning.log import Log
from lutra.tuning.mixtures import ENOUGH, with_mixtures
from lutra.tuning.result import Candidate, front
from lutra.tuning.setting import Setting, variables
from lutra.tuning.workload import Outcome, Point, Task, Workload, accuracy, run

MODELS = Path(__file__).parents[2] / "examples" / "models"
IRIS = MODELS / "iris_fc.onnx"


def data(name: str = "iris_fc") -> dict[str, Any]:
    with np.load(MODELS / f"{name}.npz") as found:
        return dict(found)


def tuned(**options: Any) -> lutra.Tuning:
    d = data()
    given: dict[str, Any] = {
        "trials": 12,
        "p_error": [STRICT, 1e-2],
        "max_drop": 0.02,
        **options,
    }
    return lutra.tune(IRIS, d["x_train"][:60], (d["x_train"][60:], d["y_train"][60:]), **given)


# --- the whole ------------------------------------------------------------------------------------
def test_the_choice_is_cheap_and_keeps_the_score(tmp_path: Path) -> None:
    found = tuned(log=tmp_path / "trials.jsonl")
    assert found.choice.worst >= found.reference - 0.02
    assert found.price < 1e10
    assert found.p_error in (STRICT, 1e-2)
    assert found.choice in found.front
    assert list(found.front) == sorted(found.front, key=lambda c: c.price)
    assert found.trials <= 12
    assert str(Pipeline.parse(found.pipeline)) == found.pipeline == found.model.pipeline
    assert found.model.p_error == found.p_error
    assert lutra.price(found.model).total == pytest.approx(found.price)
    assert found.pipeline in str(found)
    found.plot(tmp_path / "front.png")
    assert (tmp_path / "front.png").stat().st_size > 1000


def test_look_ups_that_matter_little_are_left_out() -> None:
    found = tuned(trials=40, p_error=STRICT)
    assert "prune" in found.pipeline
    assert found.model.pbs_count < 20  # of 60


def test_a_search_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "trials.jsonl"
    first = tuned(log=log)
    lines = log.read_text().splitlines()
    assert len(lines) == first.trials
    log.write_text("\n".join(lines) + '\n{"key": "cut o')

    def fail(*given: object) -> Outcome:
        raise AssertionError("run again")

    monkeypatch.setattr("lutra.tuning.search.run", fail)
    assert tuned(log=log).choice == first.choice


def test_trials_run_on_an_executor() -> None:
    with ThreadPoolExecutor(2) as pool:
        assert tuned(executor=pool).choice == tuned().choice


def test_shared_results_allow_no_errors() -> None:
    found = tuned(p_error=None, share_results=True, trials=7)
    assert found.p_error == STRICT
    assert "exact=true" in found.pipeline
    with pytest.raises(InputError, match="decrypted results are shared") as caught:
        tuned(p_error=1e-3, share_results=True)
    assert caught.value.code == "I006"


def test_nothing_may_be_good_enough() -> None:
    with pytest.raises(InputError, match="none of") as caught:
        tuned(max_drop=0, trials=3)
    assert caught.value.code == "I007"


@pytest.mark.parametrize(
    "options",
    [{"p_error": 2.0}, {"confidence": 1.0}, {"metric": "f1"}, {"trials": 0}, {"runs": 0}],
)
def test_wrong_arguments(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        tuned(**options)


def test_wrong_validation_data() -> None:
    d = data()
    with pytest.raises(InputError, match="3 labels for 4"):
        lutra.tune(IRIS, d["x_train"], (d["x_train"][:4], d["y_train"][:3]))
    with pytest.raises(InputError, match="no pair"):
        lutra.tune(IRIS, d["x_train"], d["x_train"])  # type: ignore[arg-type]


def test_a_metric_of_ones_own() -> None:
    def top(outputs: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> Any:
        return (outputs.argmax(-1) != (labels + 1) % 3).astype(float)

    d = data()
    found = lutra.tune(
        IRIS,
        d["x_train"][:30],
        (d["x_train"], d["y_train"]),
        top,
        0.05,
        trials=6,
        p_error=1e-2,
    )
    assert found.samples == 100  # no mixtures: their labels are for the accuracy alone


def test_the_command(tmp_path: Path) -> None:
    d = data()
    np.savez(tmp_path / "d.npz", a=d["x_train"][:60], b=d["x_train"][60:], y=d["y_train"][60:])
    file = tmp_path / "d.npz"
    options = ["-c", f"{file}:a", "-v", f"{file}:b", "-l", f"{file}:y", "--max-drop", "0.03"]
    more = ["--trials", "6", "--p-error", "0.01", "-o", str(tmp_path / "m.lutra")]
    result = CliRunner().invoke(app, ["tune", str(IRIS), *options, *more])
    assert result.exit_code == 0, result.output
    assert "pipeline  default{" in result.stdout
    assert lutra.load(tmp_path / "m.lutra").p_error == 0.01


# --- parts ----------------------------------------------------------------------------------------
def test_bounds_of_the_loss() -> None:
    right = np.ones(1000)
    assert loss(right, right) == 0
    assert 0 < worst_loss(right, right, 0.9) < 0.005
    assert worst_loss(right, right, 0.99) > worst_loss(right, right, 0.9)
    assert worst_loss(right[:100], right[:100], 0.9) > worst_loss(right, right, 0.9)
    worse = right.copy()
    worse[:20] = 0
    assert loss(worse, right) == pytest.approx(0.02)
    assert 0.02 < worst_loss(worse, right, 0.9) < 0.03


def test_bounds_of_the_loss_hold_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    true, held = 0.01, 0
    for _ in range(400):
        scores = (rng.random(1500) > true).astype(float)
        held += worst_loss(scores, np.ones(1500), 0.9) >= true
    assert held / 400 > 0.86


def test_few_samples_tell_how_many_are_likely_to_change() -> None:
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(20_000, 3))
    outputs = reference + rng.normal(scale=0.1, size=reference.shape)
    changed = np.mean(outputs.argmax(1) != reference.argmax(1))
    for given in (np.arange(20_000) < 300, np.ones(20_000, bool)):
        assert expected_changes(outputs, reference, given) == pytest.approx(changed, rel=0.25)
    assert expected_changes(reference, reference, given) == 0
    one, one_off = (y[:, :1] + 0.5 for y in (reference, outputs))
    changed = np.mean((one > 0.5) != (one_off > 0.5))
    assert expected_changes(one_off, one, given) == pytest.approx(changed, rel=0.25)


def test_settings_are_pipelines() -> None:
    module = import_source(MODELS / "digits_cnn.onnx")
    model = lutra.compile(module, data("digits_cnn")["x_train"][:50], "default{rounding=8}")
    found = variables(model.module.circuit, False)
    assert len([v for v in found if v[0] == "rounding"]) == 3
    assert ("output_weights", "*") in found
    assert ("weights", "/conv1/Conv") in found
    setting = Setting.uniform(False, found, rounding=5, weights=4, activations=8, output_weights=3)
    assert setting.pipeline == "default{weights=4,output_weights=3,rounding=5}"
    moved = setting.moved(("rounding", "/conv1/Conv"), -1)
    assert moved is not None
    assert '"/conv1/Conv"=4' in moved.pipeline
    assert setting.changed({("rounding", "/conv1/Conv"): 99})[("rounding", "/conv1/Conv")] == 10
    assert str(Pipeline.parse(moved.pipeline)) == moved.pipeline
    assert moved.moved(("rounding", "/conv1/Conv"), 9) is not None


def test_models_that_bring_their_quantization() -> None:
    assert not brings_quantization(import_source(IRIS))
    folder = Path(__file__).parents[2] / "benchmarks" / "models"
    assert brings_quantization(import_source(folder / "qat_mlp12.onnx"))


def test_a_models_own_quantization_may_be_dropped() -> None:
    folder = Path(__file__).parents[2] / "benchmarks" / "models"
    with np.load(folder / "qat_mlp12.npz") as d:
        x, y = d["x_train"][:600], d["y_train"][:600]
    model = folder / "qat_mlp12.onnx"
    found = lutra.tune(model, x[:300], (x[300:], y[300:]), p_error=STRICT, trials=24, runs=1)
    roads = {c.pipeline.split("{")[0] for c in found.candidates}
    assert {"qat", "import-quantized,drop-quantizers,default"} <= roads
    exact = lutra.compile(model, pipeline="qat")
    assert 10 * found.price < lutra.price(exact, p_error=STRICT).total


def workload(samples: Sequence[int] = range(50)) -> Workload:
    d, module = data(), import_source(IRIS)
    name, shape = module.main.inputs[0].name, module.main.inputs[0].type.shape
    x = d["x_train"].reshape(-1, *shape)
    return Workload(
        IRIS, {name: x}, {name: x[list(samples)]}, d["y_train"][list(samples)],
        np.ones(len(samples), bool), accuracy, "concrete", 1, 0,
    )  # fmt: skip


def test_workloads_travel_and_keep_their_digest() -> None:
    there = pickle.loads(pickle.dumps(workload()))
    assert there.digest == workload().digest != workload(range(40)).digest
    task = Task("default{rounding=4}", (1e-2,))
    assert run(there, task).points[0].price == run(workload(), task).points[0].price


def test_what_costs_too_much_is_not_simulated() -> None:
    (point,) = run(workload(), Task("default{rounding=4}", (1e-2,), ceiling=1.0)).points
    assert point.scores is None
    assert point.price > 1


def test_what_has_no_parameters_is_not_simulated() -> None:
    pipeline = "default{weights=8,rounding=16,split=none}"
    (point,) = run(workload(), Task(pipeline, (STRICT,))).points
    assert point.price == float("inf")
    assert point.scores is None


def test_trials_that_fail_say_why() -> None:
    outcome = run(workload(), Task("default{rounding=4},default", (1e-2,)))
    assert outcome.failure
    assert not outcome.points


def test_the_log_answers_for_what_it_knows(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log, task = Log(path, "w"), Task("p", (0.5, 0.25))
    points = (Point(0.5, 2.0, "mono"), Point(0.25, 3.0, "mono", np.array([1.0, 0.5]), 0.1))
    log.write(task, Outcome("p", points, 1.0))
    assert log.find(task) is None  # the first was too dear to be simulated then
    assert Log(path, "w").find(Task("p", (0.5, 0.25), ceiling=1.0)) is not None
    again = Log(path, "w").find(Task("p", (0.25,)))
    assert again is not None
    assert again.points[1].scores is not None
    assert Log(path, "other").find(Task("p", (0.25,))) is None
    assert json.loads(path.read_text())["pipeline"] == "p"


def test_mixtures_credit_classes_by_the_models_belief() -> None:
    d, module = data(), import_source(IRIS)
    entry = module.main.inputs[0]
    given = {entry.name: d["x_train"].reshape(-1, *entry.type.shape)}
    inputs, credits = with_mixtures(module, given, d["y_train"], 0)
    assert len(inputs[entry.name]) == len(credits) == ENOUGH
    assert (credits[:100].argmax(1) == d["y_train"]).all()
    assert set(credits[:100].flat) == {0, 1}
    assert (credits[100:].max(1) == 1).all()
    assert (credits >= 0).all()
    assert 0 < np.sort(credits[100:], 1)[:, 1].mean() < 0.8
    many = {entry.name: np.repeat(given[entry.name], 20, 0)}
    assert with_mixtures(module, many, np.repeat(d["y_train"], 20), 0)[1].ndim == 1


def test_the_front() -> None:
    def at(price: float, score: float) -> Candidate:
        return Candidate("", 0.1, price, score, 0)

    points = (at(3, 0.9), at(1, 0.5), at(2, 0.4), at(4, 0.9), at(2, 0.7))
    assert front(points) == (at(1, 0.5), at(2, 0.7), at(3, 0.9))


# --- security -------------------------------------------------------------------------------------
def test_bounds_on_p_error() -> None:
    assert check_p_error(0.1) is None
    assert check_p_error(STRICT, share_results=True) == STRICT
    assert check_p_error(None, STRICT / 2, share_results=True) == STRICT
    for given in (1e-5, None):
        with pytest.raises(InputError) as caught:
            check_p_error(given, share_results=True)
        assert caught.value.code == "I006"
        assert "docs/security" in (caught.value.help or "")
    with pytest.raises(InputError, match="max_p_error"):
        check_p_error(0.1, max_p_error=0.01)


def test_compile_refuses_what_sharing_forbids() -> None:
    x = data()["x_train"]
    exact = "default{rounding=4,exact=true}"
    assert lutra.compile(IRIS, x, exact, share_results=True).p_error == STRICT
    with pytest.raises(InputError, match="approximate rounding"):
        lutra.compile(IRIS, x, "default{rounding=4}", share_results=True)
    assert lutra.compile(IRIS, x, "default{rounding=4}", max_p_error=1e-7).p_error == 1e-7
    for wrong in ({"p_error": 1e-5}, {"global_p_error": 1e-3}, {"options": {"p_error": 0.1}}):
        with pytest.raises(InputError) as caught:
            lutra.compile(IRIS, x, share_results=True, **wrong)  # type: ignore[arg-type]
        assert caught.value.code == "I006"
