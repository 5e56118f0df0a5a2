"""The comparison with Concrete ML: what is decided from figures, and how it is shown."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks.versus import configurations, environment, peer, show
from benchmarks.versus.configurations import Configuration, grid, quick
from benchmarks.versus.figures import (
    STRICT,
    Encrypted,
    Point,
    Row,
    Side,
    Speed,
    bars,
    cheapest,
    geometric_mean,
    realised,
)
from benchmarks.versus.ours import same_settings
from benchmarks.versus.plot import draw
from benchmarks.versus.subjects import subjects
from benchmarks.versus.summary import summary


def point(accuracy: float, price: float | None, p_error: float = STRICT, pbs: int = 60) -> Point:
    return Point("n5", accuracy, price, p_error, pbs, "4", 0.1)


def row(mine: Side | None = None, theirs: Side | None = None, model: str = "net") -> Row:
    return Row(model, 0.97, mine or Side(), theirs or Side())


# --- configurations -----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("label", "configuration"),
    [
        ("n7", Configuration(7)),
        ("n4_r6A", Configuration(4, 6)),
        ("n6_r6E_p0.01", Configuration(6, 6, True, 0.01)),
        ("qat_r5A_p1e-05", Configuration(None, 5, False, 1e-5)),
    ],
)
def test_labels(label: str, configuration: Configuration) -> None:
    assert Configuration.parse(label) == configuration
    assert configuration.label == label


@pytest.mark.parametrize("label", ["", "n", "r5A", "n5_r5", "n5_p"])
def test_what_is_no_label(label: str) -> None:
    with pytest.raises(ValueError, match="is no configuration"):
        Configuration.parse(label)


def test_the_grid() -> None:
    found = list(grid(brings=False))
    assert len(set(found)) == len(found) == 7 * (1 + 6 * 2) * 2
    assert {c.n_bits for c in grid(brings=True)} == {None}
    for model, labels in configurations.QUICK.items():
        brings = model.startswith("qat")
        assert set(quick(model, brings)) <= set(grid(brings)), labels
    assert all(c.n_bits is None for c in quick("another", brings=True))


def test_the_same_settings() -> None:
    pipeline = same_settings(Configuration(5, 4, exact=True))
    options = "weights=5,activations=5,inputs=5,rounding=4,exact=true"
    assert pipeline == f"wide{{{options}}}"
    assert same_settings(Configuration(None)) == "qat"


# --- figures ------------------------------------------------------------------------------------
def test_the_cheapest_that_keeps_the_accuracy() -> None:
    points = [point(0.97, 5e9), point(0.96, 3e9), point(0.9599, 1e9), point(0.99, None)]
    assert cheapest(points, 0.96) == points[1]
    assert cheapest(points, 0.98) is None


def test_the_test_set_chooses_among_offers() -> None:
    found = [point(0.97, 6e9), point(0.97, 2e9, 0.01)]
    offers = [point(0.97, 1e9), point(0.9, 1e8, 0.01)]
    net = row(Side([*offers, point(0.97, 1e6)], offers), Side(found))
    assert net.best(net.peer, STRICT) == found[0]
    assert net.best(net.peer) == found[1]
    assert net.gain(STRICT) == pytest.approx(6)
    assert net.best(net.lutra) == offers[0]
    assert net.gain() == pytest.approx(2)
    net.lutra.offers = offers[1:]
    assert net.choice(net.lutra) == offers[1]
    assert net.best(net.lutra) is None
    assert net.gain() is None


def test_without_a_fit_the_most_accurate_is_shown() -> None:
    net = row(theirs=Side([point(0.9, 1e9), point(0.94, 1e10), point(0.96, None)]))
    assert net.choice(net.peer) == point(0.94, 1e10)
    assert net.best(net.peer) is None


def test_means() -> None:
    assert geometric_mean([]) is None
    assert geometric_mean([2, 8]) == pytest.approx(4)


def measured() -> list[Row]:
    def side(*prices: float) -> Side:
        points = [point(0.97, price, p) for price, p in zip(prices, (STRICT, 0.01), strict=True)]
        return Side(points, points)

    def peer_side(*prices: float) -> Side:
        return Side(side(*prices).points)

    first = row(side(1e9, 1e9), peer_side(4e9, 2e9), "first")
    second = row(side(1e9, 1e9), peer_side(16e9, 8e9), "second")
    alone = row(side(1e9, 1e9), Side([point(0.9, 1e9)]), "alone")
    free = point(0.97, 0.0, pbs=0)
    linear = row(Side([free]), peer_side(1e8, 1e8), "linear")
    first.peer.speed, first.lutra.speed = Speed(10, 0.4, 0.1), Speed(1, 0.01, 0.0001)
    first.peer.encrypted = Encrypted("n5", 4e9, 3.0, 6.0, 3, 3)
    first.lutra.encrypted = Encrypted("default", 1e9, 2.0, 2.0, 3, 3)
    return [first, second, alone, linear]


def test_claims() -> None:
    found = {bar.name: bar for bar in bars(measured())}
    values = [bar.value for bar in found.values()]
    assert values == [pytest.approx(v) for v in (8, 4, 2, 1, 10, 40, 1000, 0.75)]
    assert all(bar.met for bar in found.values())
    assert [bar.met for bar in bars([])] == [None] * 7
    assert realised(measured()[1]) is None
    worse = measured()[:1]
    worse[0].lutra.offers = [point(0.97, 8e9)]
    assert [bar.met for bar in bars(worse)][:4] == [False, False, False, None]


# --- what is shown ------------------------------------------------------------------------------
def test_tables() -> None:
    text = show.markdown(measured())
    first = "| first | 0.970 | 2^-40 | n5 | 0.970 | 4 | 60 | 4e+09 | 0.1 | 0.970 | 4 | 60 | 1e+09 |"
    assert f"{first} 0.1 | 4.0x |" in text
    lines = text.splitlines()
    assert "| Lutra only |" in next(line for line in lines if line.startswith("| alone"))[-15:]
    assert any(line.startswith("| linear") and "no look-up" in line for line in lines)
    assert any(
        "10 / 1 (10x) | 400 / 10 (40x) | 100 / 0.1 (1e+03x) | 6 / 2 (3x)" in x for x in lines
    )
    assert any(line.startswith("| first: encrypted gain over predicted | 0.7 | 0.75 | yes |")
               for line in lines)  # fmt: skip
    assert {len(line.split("|")) for line in lines if "first" in line} <= {17, 7, 10, 6}


def test_the_short_table() -> None:
    lines = summary(measured()).splitlines()
    first = "97.0 %, 4.0e9 | 97.0 %, 1.0e9 | 4.0 x | 97.0 %, 2.0e9 | 97.0 %, 1.0e9 | 2.0 x |"
    assert f"| first | 97.0 % | {first}" in lines
    assert any(line.startswith("| alone | 97.0 % | none | 97.0 %, 1.0e9 |  |") for line in lines)
    assert any("97.0 %, no look-up |  |" in line for line in lines if "linear" in line)


def test_json() -> None:
    found = json.loads(json.dumps(show.data(measured())))
    assert [entry["model"] for entry in found["models"]] == ["first", "second", "alone", "linear"]
    assert found["claims"][0]["met"] is True


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_plot(ending: str, tmp_path: Path) -> None:
    draw(measured(), tmp_path / f"plot.{ending}")
    assert (tmp_path / f"plot.{ending}").stat().st_size > 1000


# --- Concrete ML's side -------------------------------------------------------------------------
def test_answers_are_kept(tmp_path: Path) -> None:
    request = peer.Request("measure", "m", "d", 5, None, False, None)
    cache = peer.Cache(tmp_path / "deep" / "answers.jsonl")
    assert cache.get("key") is None
    cache.put("key", request, {"accuracy": 0.5})
    cache.put("key", request, {"accuracy": 0.6})
    with cache.path.open("a") as file:
        file.write('{"key": "cut o')
    assert peer.Cache(cache.path).get("key") == {"accuracy": 0.6}


STUB = """
import json, sys, time
for line in sys.stdin:
    n_bits = json.loads(line)["n_bits"]
    if n_bits == 3:
        sys.exit(1)
    if n_bits == 4:
        time.sleep(60)
    print(json.dumps({"accuracy": 0.9, "price": 1e9, "pbs": 6, "bits": 9, "p_error": 0.01}), flush=True)
"""  # noqa: E501


def test_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(STUB)
    monkeypatch.setattr(peer, "WORKER", worker)
    monkeypatch.setattr(environment, "interpreter", lambda where: Path(sys.executable))
    subject = next(subject for subject in subjects() if subject.name == "iris_fc")
    found = peer.Peer(tmp_path, timeout=3.0)
    try:
        errors = [found.measure(subject, Configuration(bits)).error for bits in (3, 4)]
        assert errors == ["the process ended", "no answer within 3 s"]
        point = found.measure(subject, Configuration(5, 6, False, 0.01))
        assert (point.accuracy, point.bits, point.pbs, point.label) == (
            0.9, "9 to 6", 6, "n5_r6A_p0.01",
        )  # fmt: skip
    finally:
        found.close()
    monkeypatch.setattr(peer, "WORKER", tmp_path / "none")
    again = peer.Peer(tmp_path, timeout=3.0)
    assert again.measure(subject, Configuration(5, 6, False, 0.01)) == point


def test_the_models() -> None:
    found = {subject.name: subject for subject in subjects()}
    assert set(found) >= set(configurations.QUICK)
    assert {name for name, subject in found.items() if subject.brings} == {
        "qat_checker", "qat_mlp12",
    }  # fmt: skip
    iris = found["iris_fc"]
    assert iris.float_accuracy == pytest.approx(0.98)
    calibration, choosing = iris.split
    assert (len(calibration.x), len(choosing.x)) == (60, 40)
    assert found["qat_mlp12"].float_accuracy == pytest.approx(0.948)
