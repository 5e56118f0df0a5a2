"""Scale that moves between neighbouring layers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from lutra.ir.core import Module
from lutra.ir.errors import PipelineError
from lutra.ir.interpreter import Interpreter
from lutra.ir.ops import Onnx, constant_of
from lutra.ir.program import Program
from lutra.ir.types import Array
from lutra.passes import Context, Pipeline
from lutra.testing.nets import Net


@pytest.mark.parametrize("pool", [None, "MaxPool", "AveragePool"])
@pytest.mark.parametrize("function", ["Relu", "LeakyRelu"])
def test_results_stay_and_channels_match(function: str, pool: str | None) -> None:
    net = Net(0, x=(1, 2, 6, 6))
    x = net.add(function, net.conv(net.x[0], 4, (3, 3)))
    if pool:
        x = net.add(pool, x, kernel_shape=[2, 2])
    x = net.add(function, net.conv(x, 3, (2, 2)))
    module = net.returns(net.dense(net.add("Flatten", x), 3))
    feeds = net.samples(20)
    Pipeline.parse("clean").execute(module, Context())
    (before,) = Program(module).run(feeds)
    Pipeline.parse("equalize").execute(module, Context())
    (after,) = Program(module).run(feeds)
    assert np.abs(after - before).max() < 1e-4 * np.abs(before).max()
    layers = [op for op in module.main.ops if isinstance(op, Onnx) and op.op_type in _LAYERS]
    first, second, third = (constant_of(op.input(1)) for op in layers)
    assert first is not None and second is not None and third is not None  # noqa: PT018
    for w1, w2 in ((first, second), (second, third.T.reshape(3, 3, -1))):
        a = np.abs(w1).reshape(len(w1), -1).max(1)
        b = np.abs(w2).swapaxes(0, 1).reshape(len(w1), -1).max(1)
        assert np.allclose(a, b, rtol=0.02)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_activations_come_closer(share: float) -> None:
    net = Net(0, x=(1, 2, 6, 6))
    x = net.add("Relu", net.conv(net.x[0], 4, (3, 3)))
    x = net.add("Flatten", net.add("MaxPool", x, kernel_shape=[2, 2]))
    module = net.returns(net.dense(net.add("Relu", net.dense(x, 5)), 3))
    feeds = net.samples(50)
    Pipeline.parse("clean").execute(module, Context())
    (before,), reached = Program(module).run(feeds), activations(module, feeds)
    text = f"equalize{{activations={share}}}"
    Pipeline.parse(text).execute(module, Context(samples=feeds))
    (after,) = Program(module).run(feeds)
    assert np.abs(after - before).max() < 1e-4 * np.abs(before).max()
    for old, new in zip(reached, activations(module, feeds), strict=True):
        np.testing.assert_allclose(new, np.where(old > 0, old ** (1 - share), 0), rtol=1e-4)


def activations(module: Module, feeds: Mapping[str, Array]) -> list[Array]:
    """The largest activations of the channels that the second and the third layer read."""
    layers = [op for op in module.main.ops if isinstance(op, Onnx) and op.op_type in _LAYERS]
    values = [value for op in layers[1:] if (value := op.input(0)) is not None]
    flat, hidden = Interpreter(module.main, values).run(feeds)
    return [flat.reshape(len(flat), 4, -1).max((0, 2)), hidden.max((0, 1))]


def test_options_that_are_none() -> None:
    with pytest.raises(PipelineError, match="P002"):
        Pipeline.parse("equalize{activations=1.5}")


_LAYERS = ("Conv", "MatMul")
