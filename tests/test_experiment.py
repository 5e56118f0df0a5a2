"""What an experiment's file asks for, and what it is told about its mistakes."""

from pathlib import Path

import pytest

from lutra.experiment import load
from lutra.experiment.spec import Column, Experiment
from lutra.experiment.trial import trials
from lutra.ir.errors import Error

MODELS = Path(__file__).parents[1] / "examples" / "models"

FILE = f"""
models = ["{MODELS}/iris*.onnx", "{MODELS}/logreg14.onnx"]

[data]
samples = 50

[pipelines]
plain = "default"
narrow = "default{{weights=$w, activations=$w, rounding=none}}"
wide = "default{{weights=$w, rounding=$r}}"

[grid]
w = [3, 4]
r = [5, "none"]

[metrics]
accuracy = {{}}
cheap = {{ metric = "price", p_error = 1e-2 }}
"""


def read(folder: Path, text: str = FILE) -> Experiment:
    path = folder / "bits.toml"
    path.write_text(text)
    return load(path)


def test_a_pipeline_takes_part_in_the_dimensions_that_it_mentions(tmp_path: Path) -> None:
    variants = read(tmp_path).variants
    assert [(v.pipeline, v.text, dict(v.parameters)) for v in variants] == [
        ("plain", "default", {}),
        ("narrow", "default{weights=3,activations=3,rounding=none}", {"w": "3"}),
        ("narrow", "default{weights=4,activations=4,rounding=none}", {"w": "4"}),
        ("wide", "default{weights=3,rounding=5}", {"w": "3", "r": "5"}),
        ("wide", "default{weights=3,rounding=none}", {"w": "3", "r": "none"}),
        ("wide", "default{weights=4,rounding=5}", {"w": "4", "r": "5"}),
        ("wide", "default{weights=4,rounding=none}", {"w": "4", "r": "none"}),
    ]


def test_models_metrics_and_columns(tmp_path: Path) -> None:
    experiment = read(tmp_path)
    assert [(m.name, m.data.name, m.samples) for m in experiment.models] == [
        ("iris_fc", "iris_fc.npz", 50),
        ("logreg14", "logreg14.npz", 50),
    ]
    assert experiment.metrics == (
        Column("accuracy", "accuracy"),
        Column("cheap", "price", (("p_error", 0.01),)),
    )
    assert experiment.columns[:8] == (
        *("key", "model", "pipeline", "text"),
        *("w", "r", "accuracy", "cheap"),
    )


def test_a_pipeline_may_have_a_grid_of_its_own_and_maps_as_values(tmp_path: Path) -> None:
    experiment = read(
        tmp_path,
        f"""
        models = ["{MODELS}/iris_fc.onnx"]
        [pipelines.by-layer]
        text = "default{{weights=$w,exact=$exact}}"
        grid = {{ w = [{{ "/fc1/*" = 4, "*" = 8 }}], exact = [true] }}
        """,
    )
    text = 'default{weights={"/fc1/*"=4,"*"=8},exact=true}'
    assert [variant.text for variant in experiment.variants] == [text]


def test_a_pipeline_may_be_for_some_models_only(tmp_path: Path) -> None:
    only = '[pipelines]\nfew = { text = "default", models = ["iris*"] }'
    found = trials(read(tmp_path, FILE.replace("[pipelines]", only)))
    assert [t.model.name for t in found if t.variant.pipeline == "few"] == ["iris_fc"]
    assert {t.model.name for t in found} == {"iris_fc", "logreg14"}


def test_sections_may_be_changed(tmp_path: Path) -> None:
    read(tmp_path)
    changed = load(tmp_path / "bits.toml", {"pipelines": {"one": "default{rounding=$r}"}})
    assert [variant.text for variant in changed.variants] == [
        "default{rounding=5}",
        "default{rounding=none}",
    ]


def test_each_trial_is_there_once_and_its_key_follows_what_it_depends_on(tmp_path: Path) -> None:
    first = {trial.key for trial in trials(read(tmp_path))}
    assert len(first) == 2 * 7
    assert {trial.key for trial in trials(read(tmp_path))} == first
    again = read(tmp_path, FILE.replace('wide = "', 'other = "default{weights=$w}"\nwide = "'))
    assert len(first - {trial.key for trial in trials(again)}) == 0
    fewer = read(tmp_path, FILE.replace("samples = 50", "samples = 40"))
    assert not first & {trial.key for trial in trials(fewer)}
    dearer = read(tmp_path, FILE.replace("1e-2", "1e-3"))
    assert not first & {trial.key for trial in trials(dearer)}


@pytest.mark.parametrize(
    ("old", "new", "code", "message"),
    [
        ("[grid]", "[girds]", "X001", "did you mean 'grid'?"),
        ("[pipelines]", "[pipelines", "X001", "line 7"),
        ("iris*", "rose*", "X001", "no file matches"),
        ("$r", "$s", "X001", "the grid has no 's'"),
        ('r = [5, "none"]', "r = []", "X001", "no values for 'r'"),
        ("samples = 50", 'samples = "50"', "X001", "`samples` is '50', not a whole number"),
        ("samples = 50", "samples = -5", "X001", "`samples` is -5, not 1 or more"),
        ("accuracy = {}", "encrypted_equal = { samples = -5 }", "X002", "samples=-5 is not 1 or"),
        ("samples = 50", "shapes = { x = [1, 0] }", "X001", "not a list of sizes"),
        ("samples = 50", "sample = 50", "X001", "did you mean 'samples'?"),
        ('"default"', '{ text = "default", models = ["r*"] }', "X001", "no model is named 'r*'"),
        ("accuracy = {}", "acuracy = {}", "X002", "did you mean 'accuracy'?"),
        ("accuracy = {}", "accuracy = { p_error = 1 }", "X002", "p_error"),
        ("accuracy = {}", "accuracy = 1", "X001", "not a table of options"),
        ("accuracy", "error", "X002", "no metric 'error'"),
        ("cheap", "w", "X001", "two columns of the results would be named 'w'"),
        ('"default"', '"defaut"', "P001", "[pipelines.plain]: defaut: no pass 'defaut'"),
        ("weights=$w, r", "weihgts=$w, r", "P002", "did you mean 'weights'?"),
        ("[data]", '[[plots]]\nx = "w"\ny = "r"\nlog = "z"\n[data]', "X001", "log is 'z'"),
        ("[data]", '[[plots]]\nx = "w"\ny = "prices"\n[data]', "X001", "no column 'prices'"),
    ],
)
def test_mistakes_are_named_before_anything_runs(
    tmp_path: Path, old: str, new: str, code: str, message: str
) -> None:
    assert old in FILE
    with pytest.raises(Error) as caught:
        read(tmp_path, FILE.replace(old, new, 1))
    assert caught.value.code == code
    assert message in str(caught.value)


def test_the_shipped_example_is_valid() -> None:
    experiment = load(MODELS.parent / "experiments" / "bits.toml")
    assert len(trials(experiment)) == 5 * len([*MODELS.glob("*.onnx")])


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Error, match=r"X001.*nowhere"):
        load(tmp_path / "nowhere.toml")
