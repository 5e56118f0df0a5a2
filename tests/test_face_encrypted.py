"""Encrypted predictions through the face, with few bits and real keys."""

from pathlib import Path

import numpy as np
import pytest

import lutra
from lutra.ir.types import Array
from lutra.model import keygen_seconds
from small_models import FEW_BITS, mlp, points

pytestmark = pytest.mark.encrypted

P_ERROR = 1e-7
"""So small that no look-up fails in the tests' lifetime."""


@pytest.fixture(scope="module")
def model() -> lutra.Model:
    return lutra.compile(mlp(), points(), FEW_BITS, p_error=P_ERROR)


@pytest.fixture(scope="module")
def x(model: lutra.Model) -> Array:
    """Inputs within the ranges that calibration observed."""
    return points()[:3]


def test_encrypted_is_clear(model: lutra.Model, x: Array) -> None:
    seen: list[tuple[str, int, int]] = []
    model.progress = lambda *event: seen.append(event)
    np.testing.assert_array_equal(model.predict(x, "encrypt"), model.predict(x))
    (keys,) = (what for what, done, _ in seen if what.startswith("key generation") and done == 1)
    assert keys == f"key generation, about {keygen_seconds(model.circuit_statistics()):.0f} s"
    assert [event[1:] for event in seen if event[0] == "encrypted samples"] == [
        (0, 3),
        (1, 3),
        (2, 3),
        (3, 3),
    ]
    assert model.predict(x[:0], "encrypt").shape == (0, 2)


def test_processes_give_the_same(model: lutra.Model, x: Array) -> None:
    np.testing.assert_array_equal(model.predict(x, "encrypt", executor=1), model.predict(x))
    with pytest.raises(lutra.Error, match="executor=0 is no number of processes"):
        model.predict(x, "encrypt", executor=0)


@pytest.mark.parametrize("seed", [0, 4])
def test_encrypted_is_clear_out_of_range(seed: int) -> None:
    """Look-ups and outputs wrap in the clear as they do under encryption."""
    pipeline = FEW_BITS.replace("}", ",margin=0.0}")
    narrow = lutra.compile(mlp(), points(2, seed=seed), pipeline, p_error=P_ERROR)
    corners = np.array([[1, -1], [1, 1], [-1, -1], [-1, 1]])
    clear = narrow.predict(corners)
    assert narrow.violations
    np.testing.assert_array_equal(narrow.predict(corners, "encrypt"), clear)


def test_keys_are_generated_once(model: lutra.Model, x: Array) -> None:
    model.predict(x[:1], "encrypt")
    keys = model.executable.client.evaluation_keys  # type: ignore[attr-defined]
    model.predict(x[:1], "encrypt")
    assert model.executable.client.evaluation_keys is keys  # type: ignore[attr-defined]


def test_loaded_models_predict_encrypted(model: lutra.Model, x: Array, tmp_path: Path) -> None:
    model.save(tmp_path / "m.lutra")
    loaded = lutra.load(tmp_path / "m.lutra")
    np.testing.assert_array_equal(loaded.predict(x[:1], "encrypt"), model.predict(x[:1]))
    assert loaded.circuit_statistics() == model.circuit_statistics()


def test_prices_are_the_backends(model: lutra.Model) -> None:
    statistics = model.circuit_statistics()
    report = model.report()
    assert statistics["bootstraps"] == report.pbs == model.pbs_count
    assert report.price == statistics["price"] > 0
    shares = [layer.price or 0 for layer in report.layers]
    assert sum(shares) == pytest.approx(report.price)
    assert report.p_error == statistics["p_error"] <= P_ERROR
    assert "price" in str(report)
    assert "MB in memory" in str(report)


@pytest.mark.parametrize("pipeline", ["default{rounding=3}", "default{rounding=3,exact=true}"])
def test_bootstraps_are_counted_as_the_backend_counts_them(pipeline: str) -> None:
    compiled = lutra.compile(mlp(), points(), pipeline)
    assert compiled.circuit_statistics()["bootstraps"] == compiled.pbs_count


def test_linear_circuits_need_no_bootstraps() -> None:
    from onnx_models import model_of
    from small_models import tensor

    w = tensor("w", np.array([[1.0, -0.5], [0.25, 2.0]]))
    source = model_of(f"m (float[N,2] x) => (float[N,2] y) <{w}> {{ y = MatMul(x, w) }}")
    compiled = lutra.compile(source, points())
    np.testing.assert_array_equal(
        compiled.predict(points(2), "encrypt"), compiled.predict(points(2))
    )
    assert compiled.circuit_statistics()["bootstraps"] == 0
