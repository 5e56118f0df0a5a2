"""Ranges that calibration chooses."""

from __future__ import annotations

import numpy as np
import pytest

from lutra.ir.core import Graph, Module
from lutra.ir.errors import InputError, PipelineError
from lutra.ir.ops import Constant, Observe, Onnx
from lutra.ir.rewriter import Rewriter
from lutra.ir.types import Array, Tensor
from lutra.passes import Context, Pipeline, calibrators
from lutra.passes.quantize import affine_quantized
from lutra.passes.statistics import Histogram
from lutra.testing.nets import Net

RNG = np.random.default_rng(0)
NORMAL = RNG.standard_normal(20000).astype(np.float32)
RELU = np.maximum(NORMAL, 0)
SPIKE = np.append(RELU, 50).astype(np.float32)


def histogram(x: Array) -> Histogram:
    found = Histogram()
    found.update(x[None])
    return found


def error(x: Array, lo: float, hi: float, bits: int) -> float:
    return float(np.square(affine_quantized(x, lo, hi, bits) - x).mean())


@pytest.mark.parametrize("x", [NORMAL, RELU, SPIKE, NORMAL * 0.01 + 3, -RELU])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_mse_finds_the_least_error(x: Array, bits: int) -> None:
    lo, hi = calibrators.mse(histogram(x), bits)
    found = error(x, lo, hi, bits)
    for share in np.linspace(0.02, 1, 50):
        end = [float(x.min()), float(x.max())]
        fixed = min(max(0.0, end[0]), end[1])
        shrunk = [fixed + (e - fixed) * share for e in end]
        assert found <= error(x, shrunk[0], shrunk[1], bits) * 1.02


def test_minmax_and_percentile() -> None:
    assert calibrators.minmax(histogram(SPIKE)) == (0, 50)
    lo, hi = calibrators.percentile(histogram(np.arange(10001, dtype=np.float32)), 99.0)
    assert lo == pytest.approx(50, abs=4)
    assert hi == pytest.approx(9950, abs=4)
    assert calibrators.percentile(histogram(SPIKE), 100.0) == (0, 50)


def test_entropy_cuts_outliers_but_keeps_what_many_bits_can_tell() -> None:
    lo, hi = calibrators.entropy(histogram(SPIKE), 8)
    assert lo == 0
    assert 2 < hi < 20
    flat = RNG.uniform(0, 1, 20000).astype(np.float32)
    assert calibrators.entropy(histogram(flat), 8)[1] > 0.95


@pytest.mark.parametrize("x", [np.zeros(5), np.full(5, 3.0), np.full(5, -3.0), np.arange(2)])
def test_few_values(x: Array) -> None:
    found = histogram(x.astype(np.float32))
    for bits in (1, 4, 16):
        for lo, hi in (calibrators.mse(found, bits), calibrators.entropy(found, bits)):
            assert lo <= hi
            assert error(x.astype(np.float32), lo, hi, bits) < 1e-4


def network(scale: float) -> Module:
    """x [1, 4] -> Relu -> MatMul that reads the first channel `scale` times as strongly."""
    graph = Graph()
    rewriter = Rewriter(graph)
    x = rewriter.input("x", Tensor((1, 4)))
    first = rewriter.insert(Constant(np.eye(4, dtype=np.float32)))
    second = rewriter.insert(Constant(np.float32([[scale], [1], [1], [1]])))
    h = rewriter.insert(Onnx.make("MatMul", (x, first.result)), loc=("fc1",)).result
    r = rewriter.insert(Onnx.make("Relu", (h,)), loc=("relu",)).result
    y = rewriter.insert(Onnx.make("MatMul", (r, second.result)), loc=("fc2",)).result
    rewriter.returns([y], ["y"])
    return Module([graph])


def ranges(method: str, scale: float = 1.0, bits: int = 3) -> dict[tuple[str, ...], float]:
    module = network(scale)
    x = RNG.standard_normal((2000, 1, 4)).astype(np.float32) * np.float32([10, 1, 1, 1])
    context = Context(samples={"x": x})
    Pipeline.parse(f"calibrate{{method={method},bits={bits}}}").execute(module, context)
    return {op.loc: op.hi for op in module.main.of(Observe)}


@pytest.mark.parametrize("method", ["minmax", "percentile", "mse", "entropy", "auto"])
def test_methods_observe_every_value_to_quantize(method: str) -> None:
    assert len(ranges(method)) == 2


def test_auto_looks_at_what_the_readers_make_of_it() -> None:
    much, little = ranges("auto", 100)[("relu",)], ranges("auto", 0)[("relu",)]
    assert little <= ranges("mse")[("relu",)] * 1.01 < 1.1 * much


def test_bits_by_layer_and_role() -> None:
    few, many = ranges("mse", bits=2)[("relu",)], ranges("mse", bits=8)[("relu",)]
    assert few < 0.8 * many
    module = network(1)
    x = RNG.standard_normal((2000, 1, 4)).astype(np.float32)
    text = 'calibrate{method=mse,bits={"relu"=2,"*"=8},inputs=2}'
    Pipeline.parse(text).execute(module, Context(samples={"x": x}))
    found = {op.loc: op.hi for op in module.main.of(Observe)}
    assert found[("relu",)] < 3
    with pytest.raises(PipelineError, match=r"P002.*gives no bits to this layer"):
        Pipeline.parse('calibrate{method=mse,bits={"fc1"=3}}').execute(
            network(1), Context(samples={"x": x})
        )


def test_values_that_are_no_numbers() -> None:
    context = Context(samples={"x": np.full((3, 1, 4), np.nan, np.float32)})
    with pytest.raises(InputError, match="C002"):
        Pipeline.parse("calibrate").execute(network(1), context)


@pytest.mark.parametrize("count", [1, 2])
def test_one_sample_is_few(count: int) -> None:
    net = Net(0, x=(1, 4))
    module = net.returns(net.dense(net.x[0], 3))
    context = Context(samples=net.samples(count))
    Pipeline.parse("clean,calibrate").execute(module, context)
    assert len(context.notes.choices) == (count == 1)
