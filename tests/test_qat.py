"""Models that bring their own quantization: the clear integers are those of the model itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import lutra
from lutra.ir.core import Graph
from lutra.ir.errors import InputError
from lutra.ir.ops import Conv, Lookup, MatMul, Max, Round
from lutra.ir.types import Array
from quantized_models import DOMAINS, FORMATS, Quantized, own_results
from quantized_nets import NETS, branches, convolutions, mlp, requantized

FILES = Path(__file__).parent / "data" / "qat"
"""Trained with Brevitas: 3-bit weights and activations."""
ACCURACY = {"qat_mlp12": 0.948, "qat_checker": 0.870}


def circuit_of(model: onnx.ModelProto | Path, pipeline: str = "qat", **options: Array) -> Graph:
    return lutra.compile(model, pipeline=pipeline, **options).module.circuit


def parts(circuit: Graph) -> list[Array]:
    """Weights and tables of a circuit."""
    found = (op for op in circuit.ops if isinstance(op, MatMul | Conv | Lookup))
    return [op.table if isinstance(op, Lookup) else op.w for op in found]


@pytest.mark.parametrize("name", ACCURACY)
def test_trained_models(name: str) -> None:
    with np.load(FILES / f"{name}.npz") as data:
        x, labels, brevitas = data["x_test"], data["y_test"], data["brevitas_out"]
    circuits = []
    for form in ("qonnx", "qcdq"):
        model = lutra.compile(FILES / f"{name}.{form}.onnx", pipeline="qat")
        found = np.asarray(model.predict(x))
        np.testing.assert_allclose(found, brevitas, rtol=1e-5, atol=1e-5)
        assert np.mean(found.argmax(1) == labels) == pytest.approx(ACCURACY[name])
        circuits.append(model.module.circuit)
    for first, second in zip(*map(parts, circuits), strict=True):
        np.testing.assert_array_equal(first, second)
    assert len(parts(circuits[0])) == 5


# --- nets whose grids are powers of two: floats are exact, also in the middle between two steps --
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("build", NETS, ids=lambda build: build.__name__)
def test_integers_are_those_of_the_model(
    build: Callable[[Quantized], str], form: str, seed: int
) -> None:
    net = Quantized(NETS[build], form, DOMAINS[seed], seed)
    model, x = net.model(build(net)), net.samples()
    found = np.asarray(lutra.compile(model, pipeline="qat").predict(x))
    np.testing.assert_allclose(found, own_results(model, x), rtol=1e-5, atol=1e-6)


def is_refresh(op: Lookup) -> bool:
    """Whether it gives back what it reads, with less noise."""
    return op.table.ndim == 1 and np.array_equal(op.table, op.base + np.arange(op.entries))


def test_pooling_and_sums_are_done_on_the_models_integers() -> None:
    net = Quantized(NETS[convolutions])
    circuit = circuit_of(net.model(convolutions(net)))
    maxima = [op for op in circuit.ops if isinstance(op, Max)]
    look_ups = [op for op in circuit.of(Lookup) if not is_refresh(op)]
    assert [op.result.int_type.bits for op in maxima] == [4, 4]  # as many as the layer before has
    assert len(look_ups) == 3


def test_what_is_quantized_twice_is_looked_up_once() -> None:
    net = Quantized(NETS[requantized])
    circuit = circuit_of(net.model(requantized(net)))
    assert [op.opname for op in circuit.ops if op.pure] == ["matmul", "lookup", "matmul"]


@pytest.mark.parametrize("mode", ["FLOOR", "CEIL", "ROUND_TO_ZERO", "HALF_UP"])
@pytest.mark.parametrize("zero", [0, 1, -2])
def test_rounding_modes(mode: str, zero: int) -> None:
    net = Quantized((4,))
    x = net.quant("x", 0.25, 4, zero=zero, mode=mode)
    x = net.node("MatMul", x, net.weights(4, 5))
    x = net.quant(net.node("Tanh", x), 0.125, 3, zero=zero, mode=mode)
    assert_exact(net, net.node("MatMul", x, net.weights(5, 3)))


def test_bipolar_weights_and_activations() -> None:
    net = Quantized((3, 4, 4))

    def bipolar(x: str, scale: float) -> str:
        return net.node("BipolarQuant", x, net.constant(scale), domain=net.domain)

    x = net.node("Conv", bipolar("x", 0.5), bipolar(net.floats(4, 3, 3, 3), 0.25), pads=[1] * 4)
    x = bipolar(net.node("Add", x, net.constant(np.full((4, 1, 1), -1 / 16))), 1.0)
    assert_exact(net, net.node("Conv", x, bipolar(net.floats(2, 4, 4, 4), 2.0)))


def test_truncated_averages() -> None:
    net = Quantized((2, 4, 4))
    x = net.quant("x", 0.25, 4, signed=0)
    x = net.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
    sums = net.node("Mul", x, net.constant(4.0))
    widths = map(net.constant, (0.25, 0, 6, 4))
    x = net.node("Trunc", sums, *widths, domain=net.domain, rounding_mode="FLOOR")
    assert_exact(net, net.node("Conv", x, net.weights(3, 2, 2, 2)))


def assert_exact(net: Quantized, y: str) -> None:
    model, x = net.model(y), net.samples()
    found = np.asarray(lutra.compile(model, pipeline="qat").predict(x))
    np.testing.assert_allclose(found, own_results(model, x), rtol=1e-5, atol=1e-6)


# --- models that bring a part of it -------------------------------------------------------------
def partly(net: Quantized) -> str:
    """A float input, float weights in the last layer."""
    x = net.node("MatMul", "x", net.weights(4, 6))
    x = net.quant(net.node("Relu", x), 0.25, 3, signed=0)
    return net.node("MatMul", x, net.floats(6, 2))


def test_what_is_missing_is_quantized_by_calibration() -> None:
    net = Quantized((4,))
    model, x = net.model(partly(net)), net.samples()
    with pytest.raises(InputError, match="C003"):
        lutra.compile(model, pipeline="qat")
    compiled = lutra.compile(model, x, "qat{inputs=7,weights=6}")
    first, table, second = parts(compiled.module.circuit)
    assert np.abs(first).max() <= 4  # the model's
    assert np.unique(table).tolist() == list(range(8))
    assert np.abs(second).max() == 31
    wrong = np.asarray(compiled.predict(x)) - own_results(model, x)
    assert np.sqrt(np.mean(wrong**2)) < 0.05


@pytest.mark.parametrize("form", FORMATS)
def test_default_keeps_weights_and_grids_and_rounds(form: str) -> None:
    net = Quantized((4,), form)
    model, x = net.model(mlp(net)), net.samples()
    exact, rounded = circuit_of(model), circuit_of(model, "default{rounding=3}", calibration=x)
    kept = [w for w in parts(exact) if w.ndim == 2]
    layers = [w for w in parts(rounded) if w.ndim == 2]
    assert any(isinstance(op, Round) for op in rounded.ops)
    first, last = layers
    # without hidden values that never vary
    varying = [i for i, row in enumerate(kept[1].tolist()) if row in last.tolist()]
    np.testing.assert_array_equal(last, kept[1][varying])
    columns = kept[0][:, varying]
    np.testing.assert_array_equal(first, columns * (np.abs(first).max(0) // np.abs(columns).max(0)))
    assert parts(rounded)[1].max() <= parts(exact)[1].max()


def test_artifacts_hold_what_the_client_quantizes(tmp_path: Path) -> None:
    net = Quantized(NETS[branches])
    model, x = net.model(branches(net)), net.samples(8)
    compiled = lutra.compile(model, pipeline="qat")
    compiled.save(tmp_path / "model.lutra")
    loaded = lutra.load(tmp_path / "model.lutra")
    np.testing.assert_array_equal(np.asarray(loaded.predict(x)), np.asarray(compiled.predict(x)))


@pytest.mark.encrypted
def test_encrypted() -> None:
    net = Quantized((4,))
    model, x = net.model(mlp(net)), net.samples(2)
    compiled = lutra.compile(model, pipeline="qat{margin=0.0}", calibration=x, p_error=1e-7)
    clear = compiled.predict(x)
    np.testing.assert_array_equal(np.asarray(compiled.predict(x, mode="encrypt")), clear)
