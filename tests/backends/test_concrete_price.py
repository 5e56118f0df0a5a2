"""The predicted price against Concrete's optimizer."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

import lutra
from lutra.backends import concrete, numpy, registry
from lutra.backends.base import Pricing
from lutra.ir import ops
from lutra.ir.analysis import pbs_count
from lutra.ir.core import Graph
from lutra.ir.errors import InputError
from lutra.ir.rewriter import Rewriter
from lutra.ir.types import Int
from lutra.passes import Context
from lutra.pricing import prices_for

MODELS = Path(__file__).parents[2] / "examples" / "models"


def net(bits: int, lsbs: int, exact: bool, *, residual: bool = False, wide: bool = False) -> Graph:
    """Two layers with look-ups of so many bits, `lsbs` bits rounded off before the second."""
    rng = np.random.default_rng(0)
    graph = Graph()
    rewriter = Rewriter(graph)
    n = 1 << bits
    x = rewriter.input("x", Int.of((1, 8), 0, n - 1))
    y = ops.Lookup(x, 0, rng.integers(0, 4, n)).result
    y = ops.MatMul(y, rng.integers(-3, 4, (8, 8)) * (1 << lsbs)).result
    if residual:
        y = ops.Add(y, ops.Lookup(x, 0, rng.integers(0, 4, n)).result).result
    half = n << lsbs >> 1
    y = ops.Assume(y, np.array(-half), np.array(half - (1 << lsbs))).result
    y = ops.Round(y, lsbs, exact).result if lsbs else y
    y = ops.Lookup(y, -n // 2, rng.integers(0, n, n)).result
    if wide:
        y = ops.Max(y, ops.Lookup(x, 0, rng.integers(0, n, n)).result).result
    rewriter.returns([ops.MatMul(y, rng.integers(-2, 3, (8, 2))).result])
    return graph


@pytest.mark.parametrize("p_error", [2.0**-40, 1e-5, 1e-2])
@pytest.mark.parametrize("bits", [2, 4, 6])
def test_prices_are_the_optimizers(bits: int, p_error: float) -> None:
    for circuit in (
        net(bits, 0, False),
        net(bits, 4, False),
        net(bits, 4, False, residual=True),
        net(bits, 2, False, wide=True),
    ):
        for strategy in ("precision", "precision_and_norm2"):
            options = {"p_error": p_error, "strategy": strategy}
            true = concrete.estimate(circuit, **options).price
            assert concrete.price_of(circuit, **options).total == pytest.approx(true, rel=0.05)


def test_prices_of_exact_rounding() -> None:
    circuit = net(4, 3, True)
    true = concrete.estimate(circuit).price
    assert concrete.price_of(circuit).total == pytest.approx(true, rel=0.05)


def test_prices_of_a_bound_on_the_whole_sample() -> None:
    circuit = net(4, 4, False)
    options = {"p_error": None, "global_p_error": 1e-3}
    true = concrete.estimate(circuit, **options).price
    assert concrete.price_of(circuit, **options).total == pytest.approx(true, rel=0.1)


def test_prices_of_large_look_ups() -> None:
    graph = Graph()
    rewriter = Rewriter(graph)
    x = rewriter.input("x", Int.of((1, 2), 0, 2**12 - 1))
    rewriter.returns([ops.Lookup(x, 0, np.arange(2**12)).result])
    true = concrete.estimate(graph).price
    assert concrete.price_of(graph).total == pytest.approx(true, rel=0.1)


def test_a_circuit_without_look_ups_costs_nothing() -> None:
    graph = Graph()
    rewriter = Rewriter(graph)
    rewriter.returns([ops.Neg(rewriter.input("x", Int.of((3,), 0, 7))).result])
    assert concrete.price_of(graph).total == 0


def compiled(pipeline: str = "default{weights=4,rounding=4}", **options: object) -> lutra.Model:
    with np.load(MODELS / "digits_cnn.npz") as data:
        samples = data["x_train"][:200]
    return lutra.compile(MODELS / "digits_cnn.onnx", samples, pipeline, **options)  # type: ignore[arg-type]


def test_a_model_has_a_price_in_milliseconds() -> None:
    model = compiled()
    found = lutra.price(model)
    assert found.total == pytest.approx(concrete.estimate(model.module.circuit).price, rel=0.1)
    assert sum(share.price for share in found.shares) == pytest.approx(found.total)
    assert [share.names[0] for share in found.shares] == [f"/conv{i}/Conv" for i in (1, 2, 3)]
    assert float(found) == found.total
    lutra.price(model, p_error=0.003)
    start = time.process_time()
    lutra.price(model, p_error=0.004)
    assert time.process_time() - start < 0.1  # 10 ms on a quiet machine


def test_the_models_options_count_unless_others_are_given() -> None:
    model = compiled(p_error=1e-2)
    assert lutra.price(model).p_error == 1e-2
    assert lutra.price(model, p_error=1e-9).total > lutra.price(model).total
    alone = lutra.price(model.module.circuit, p_error=1e-2, strategy="precision")
    assert alone.total >= lutra.price(model).total
    assert lutra.price(model, strategy="mono").strategy == "mono"


def test_what_has_no_price() -> None:
    model = compiled()
    with pytest.raises(InputError, match="predicts no prices"):
        lutra.price(model, backend="numpy")
    from lutra.frontends.registry import import_source

    with pytest.raises(InputError, match="not split"):
        lutra.price(import_source(MODELS / "digits_cnn.onnx"))
    with pytest.raises(InputError, match="p_error"):
        lutra.price(model, p_error=2.0)


def test_passes_are_told_prices() -> None:
    assert isinstance(registry.find("concrete"), Pricing)
    real, plain = prices_for(concrete, {"p_error": 1e-5}), prices_for(numpy, {})
    circuit = compiled().module.circuit
    assert real.circuit(circuit) == concrete.price_of(circuit, p_error=1e-5).total
    assert plain.circuit(circuit) == pbs_count(circuit) * 2**4 == Context().prices.circuit(circuit)
    assert real.look_up(4) == pytest.approx(73e6, rel=0.1)
    assert real.look_up(4, 1e6) > real.look_up(4)
    assert real.look_up(5) > real.look_up(4)
    assert plain.look_up(5) == 2 * plain.look_up(4)


def test_seconds_follow_from_the_machines_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    from lutra import speed

    monkeypatch.setattr(speed, "price_per_second", lambda: 1e9)
    found = lutra.price(compiled())
    assert found.seconds == found.total / 1e9


@pytest.mark.encrypted
def test_the_machines_speed_is_measured_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from lutra import speed

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    speed.price_per_second.cache_clear()
    found = speed.price_per_second()
    assert found > 1e8
    speed.price_per_second.cache_clear()
    monkeypatch.setattr(speed, "_measured", lambda: 0.0)
    assert speed.price_per_second() == found
    speed.price_per_second.cache_clear()
