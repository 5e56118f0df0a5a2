"""Without its quantizers a model is the float model that it was trained as."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import lutra
from lutra.frontends.onnx import import_model
from lutra.ir.core import Module
from lutra.ir.ops import Dequantize
from lutra.ir.program import Program
from lutra.ir.types import Array
from lutra.passes import Pipeline
from quantized_models import FORMATS, Quantized

DROP = Pipeline.parse("import-quantized,drop-quantizers")


def fine(net: Quantized) -> str:
    """Steps so small that floats hardly differ from integers, and a clipped input."""
    x = net.quant("x", 1 / 64, 8)
    x = net.quant(net.node("Relu", net.node("MatMul", x, net.weights(4, 6))), 1 / 32, 8, signed=0)
    return net.node("MatMul", x, net.weights(6, 2))


def results(module: Module, x: Array) -> Array:
    (entry,) = module.main.inputs
    (y,) = Program(module).run({entry.name: x.reshape(-1, *entry.type.shape)})
    return y


@pytest.mark.parametrize("form", FORMATS)
def test_fine_steps_are_hardly_missed(form: str) -> None:
    net = Quantized((4,), form)
    module, x = import_model(net.model(fine(net))), net.samples() * 4
    floats = module.clone()
    DROP.execute(floats)
    assert not list(floats.main.of(Dequantize))
    wanted, found = results(module, x), results(floats, x)
    assert np.sqrt(np.mean((found - wanted) ** 2)) < 0.02 * np.sqrt(np.mean(wanted**2))


def by_channel(net: Quantized) -> str:
    scales = np.array([[0.5, 1.0, 0.25]])
    x = net.node("MatMul", net.quant("x", 0.25, 4), net.weights(4, 3))
    return net.node("MatMul", net.quant(x, scales, 3), net.weights(3, 2))


@pytest.mark.parametrize("build", [fine, by_channel])
def test_it_can_be_quantized_anew(build: Callable[[Quantized], str]) -> None:
    net = Quantized((4,))
    model, x = net.model(build(net)), net.samples()
    text = f"{DROP},default{{rounding=8,weights=8}}"
    compiled = lutra.compile(model, x, text)
    floats = import_model(model)
    DROP.execute(floats)
    wanted = results(floats, x)
    wrong = np.asarray(compiled.predict(x)).reshape(wanted.shape) - wanted
    assert np.sqrt(np.mean(wrong**2)) < 0.05 * np.sqrt(np.mean(wanted**2))
