"""The bars of `benchmarks.accuracy` are met, and its tables say what was measured."""

from pathlib import Path

import pytest

from benchmarks import ablations, accuracy, bars
from lutra.experiment.rows import Row
from lutra.experiment.spec import load
from lutra.experiment.trial import run, trials
from lutra.passes import Pipeline

QAT = Path(__file__).parent / "data" / "qat"


@pytest.mark.parametrize("bar", bars.BARS, ids=lambda bar: f"{bar.model}-{bar.pipeline}")
def test_bars_are_met(bar: bars.Bar) -> None:
    found = [t for t in trials(load(bars.FILE)) if t.model.name == bar.model]
    row = run(next(t for t in found if t.variant.pipeline == bar.pipeline))
    assert bar.met(row), row


def test_integers_of_trained_models_are_their_own() -> None:
    experiment = bars.trained([QAT], bars.AS_TRAINED)
    assert experiment is not None
    rows = [run(trial) for trial in trials(experiment)]
    assert len(rows) == 4
    assert [row.get("equal") for row in rows] == [1.0] * 4


@pytest.mark.parametrize(
    ("row", "met"),
    [
        ({"accuracy": 0.9, "float_accuracy": 0.91, "lookup_bits": 4}, True),
        ({"accuracy": 0.89, "float_accuracy": 0.91, "lookup_bits": 4}, False),
        ({"accuracy": 0.9, "float_accuracy": 0.91, "lookup_bits": 5}, False),
        ({"error": "B003", "message": "too wide"}, False),
    ],
)
def test_what_meets_a_bar(row: Row, met: bool) -> None:
    bar = bars.Bar("m", "p", bits=4, points=1)
    assert bar.met(row) is met
    *_, line = bars.lines([(bar, {"text": "default", **row})])
    assert line.startswith("| m | `default` |")
    assert ("met |" in line) is met


def test_the_cheapest_within_some_points() -> None:
    point: Row = {"model": "m", "float_accuracy": 0.95, "w": 4, "a": 8}
    rows: list[Row] = [
        {**point, "r": 3, "accuracy": 0.93, "price": 1e9},
        {**point, "r": 4, "accuracy": 0.94, "price": 2e9},
        {**point, "r": 5, "accuracy": 0.95, "price": 3e9},
        {**point, "r": "none", "error": "B003"},
    ]
    assert list(accuracy.cheapest(rows))[2:] == [
        "| m | 0.950 | 1 | 4 | 8 | 4 | 0.940 | 2e+09 |",
        "| m | 0.950 | 3 | 4 | 8 | 3 | 0.930 | 1e+09 |",
    ]


def test_ablations_change_one_technique() -> None:
    usual = Pipeline.parse("wide{rounding=4}")
    texts = {name: ablations.changed(usual, change) for name, change in ablations.CHANGES.items()}
    assert texts[ablations.AS_IT_IS] == str(Pipeline(usual.flat()))
    assert "fit-tables" in texts["with fitted tables"]
    assert "correct_bias=false" in texts["without bias correction"]
    assert all(str(Pipeline.parse(text)) == text for text in texts.values())
