"""Where networks bootstrap: once for each activation, and nowhere else. Counted by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lutra.frontends.onnx import import_model
from lutra.ir.core import Module, Value
from lutra.ir.ops import Lookup, Max
from lutra.ir.program import Program
from lutra.ir.types import Array
from lutra.passes import Context, Pipeline
from lutra.testing.nets import Net

MODELS = Path(__file__).parents[2] / "examples" / "models"
ROUNDED = "wide{split=none}"
ROADS = (ROUNDED, "default{weights=8,activations=8,inputs=8,rounding=none,margin=none}")


def bootstraps(module: Module) -> dict[str, int]:
    """How many elements look-ups and maxima compute."""
    counts: dict[str, int] = {}
    for op in module.circuit.ops:
        if isinstance(op, Lookup | Max):
            name = type(op).__name__
            counts[name] = counts.get(name, 0) + math.prod(op.result.shape)
    return counts


def compiled(net: Net, *outputs: Value, road: str = ROUNDED) -> Module:
    """The circuit, which is near the floats, of a net that returns these values."""
    module = net.returns(*outputs)
    feeds = net.samples(64)
    wanted = Program(module.clone()).run(feeds)
    Pipeline.parse(road).execute(module, Context(samples=feeds, lookup_bits=24))
    for old, new in zip(wanted, Program(module).run(feeds), strict=True):
        assert np.abs(new - old).max() < 0.15 * np.ptp(old)
    return module


@pytest.fixture(params=ROADS, ids=["rounded", "exact"])
def road(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_classifier(road: str) -> None:
    net = Net(x=(1, 1, 8, 8))
    (x,) = net.x
    x = net.add("Relu", net.conv(x, 4, (3, 3), strides=[2, 2]))  # [1, 4, 3, 3]
    x = net.add("AveragePool", x, kernel_shape=[2, 2])  # [1, 4, 2, 2]
    y = net.dense(net.add("Flatten", x), 3)
    assert bootstraps(compiled(net, y, road=road)) == {"Lookup": 4 * 3 * 3}


def test_residual_block() -> None:
    net = Net(x=(1, 2, 4, 4))
    (x,) = net.x
    x = net.add("Relu", net.conv(x, 4, (3, 3), pads=[1] * 4))
    branch = net.add("Relu", net.batch_norm(net.conv(x, 4, (3, 3), pads=[1] * 4)))
    branch = net.batch_norm(net.conv(branch, 4, (3, 3), pads=[1] * 4))
    x = net.add("Relu", net.add("Add", branch, x))
    y = net.dense(net.add("Flatten", net.add("GlobalAveragePool", x)), 3)
    counts = bootstraps(compiled(net, y))
    assert counts["Lookup"] in (176, 3 * 4 * 4 * 4)  # one channel is always cut off


def test_projection_block() -> None:
    """Two accumulators of different scales are added without a look-up."""
    net = Net(x=(1, 2, 4, 4))
    (x,) = net.x
    main, skip = net.conv(x, 3, (3, 3), pads=[1] * 4), net.conv(x, 3, (1, 1))
    x = net.add("Relu", net.add("Add", net.batch_norm(main), net.batch_norm(skip)))
    y = net.dense(net.add("Flatten", x), 3)
    assert bootstraps(compiled(net, y)) == {"Lookup": 3 * 4 * 4}


def test_two_branches_joined(road: str) -> None:
    net = Net(x=(1, 2, 5))
    (x,) = net.x
    left = net.add("Relu", net.conv(x, 2, (1,)))
    right = net.add("Sigmoid", net.conv(x, 3, (3,), pads=[1, 1]))
    both = net.add("Concat", left, right, axis=1)
    y = net.dense(net.add("Flatten", both), 3)
    assert bootstraps(compiled(net, y, road=road)) == {"Lookup": (2 + 3) * 5}


def test_joined_accumulators() -> None:
    """As in DenseNet: normalisation and activation behind the join are one look-up."""
    net = Net(x=(1, 2, 5))
    (x,) = net.x
    both = net.add("Concat", net.conv(x, 2, (1,)), net.conv(x, 3, (3,), pads=[1, 1]), axis=1)
    y = net.dense(net.add("Flatten", net.add("Relu", net.batch_norm(both))), 3)
    assert bootstraps(compiled(net, y)) == {"Lookup": (2 + 3) * 5}


@pytest.mark.parametrize("activation", [False, True])
def test_batch_norm_at_the_end(activation: bool) -> None:
    """It goes into the last layer's weights, or is the client's behind a last activation."""
    net = Net(x=(1, 4))
    y = net.dense(net.x[0], 3)
    module = compiled(net, net.batch_norm(net.add("Tanh", y) if activation else y))
    assert bootstraps(module) == {}


def test_channel_shuffle() -> None:
    net = Net(x=(1, 2, 4, 4))
    x = net.add("Relu", net.conv(net.x[0], 4, (3, 3)))  # [1, 4, 2, 2]
    apart = net.add("Reshape", x, np.array([1, 2, 2, 2, 2]))
    mixed = net.add("Reshape", net.add("Transpose", apart, perm=[0, 2, 1, 3, 4]), np.array(x.shape))
    x = net.add("Relu", net.conv(mixed, 4, (1, 1), group=2))
    y = net.dense(net.add("Flatten", x), 3)
    assert bootstraps(compiled(net, y)) == {"Lookup": 2 * 4 * 2 * 2}


def test_channels_last() -> None:
    """Transposes around bias and activation, as exporters of channels-last models write them."""
    net = Net(x=(1, 2, 4, 4))
    x = net.conv(net.x[0], 4, (3, 3))
    x = net.add("Transpose", x, perm=[0, 2, 3, 1])
    x = net.add("Relu", net.add("Add", x, net.weights(4)))
    x = net.conv(net.add("Transpose", x, perm=[0, 3, 1, 2]), 2, (2, 2))
    y = net.dense(net.add("Flatten", net.add("Relu", x)), 3)
    assert bootstraps(compiled(net, y)) == {"Lookup": 4 * 2 * 2 + 2}


@pytest.mark.parametrize("first", ["pool", "relu"])
def test_max_pool(first: str, road: str) -> None:
    """Three maxima for each window of four, in whichever order.

    Few bits are compared, those of activations: where accumulators have no more, these are, and
    fewer elements are left to look up.
    """
    net = Net(x=(1, 1, 6, 6))
    x = net.conv(net.x[0], 2, (3, 3))  # [1, 2, 4, 4]
    for kind in ("pool", "relu") if first == "pool" else ("relu", "pool"):
        if kind == "pool":
            x = net.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
        else:
            x = net.add("Relu", x)
    y = net.dense(net.add("Flatten", x), 3)
    counts = bootstraps(compiled(net, y, road=road))
    # along the first axis one maximum for each of 2 x 4 windows, along the second of 2 x 2
    looked_up = 2 * 2 * 2 if road != ROUNDED else 2 * 4 * 4
    assert counts == {"Lookup": looked_up, "Max": 2 * (2 * 4 + 2 * 2)}


def test_max_pool_of_accumulators() -> None:
    """Maxima need few bits: a look-up quantizes what they read."""
    net = Net(x=(1, 1, 6, 6))
    x = net.add("MaxPool", net.conv(net.x[0], 2, (3, 3)), kernel_shape=[2, 2], strides=[2, 2])
    y = net.dense(net.add("Flatten", x), 3)
    assert bootstraps(compiled(net, y)) == {"Lookup": 2 * 4 * 4, "Max": 2 * (2 * 4 + 2 * 2)}


def test_swish_is_one_look_up(road: str) -> None:
    net = Net(x=(1, 4))
    x = net.dense(net.x[0], 5)
    y = net.dense(net.add("Mul", x, net.add("Sigmoid", x)), 3)
    assert bootstraps(compiled(net, y, road=road)) == {"Lookup": 5}


def gelu(net: Net, x: Value) -> Value:
    """As torch exports it."""
    share = net.add("Add", net.add("Erf", net.add("Div", x, np.float32(2**0.5))), np.float32(1))
    return net.add("Mul", net.add("Mul", x, share), np.float32(0.5))


def leaky(net: Net, x: Value) -> Value:
    below = net.add("Mul", x, np.float32(0.1))
    return net.add("Where", net.add("Greater", x, np.float32(0)), x, below)


def sharp_swish(net: Net, x: Value) -> Value:
    return net.add("Mul", x, net.add("Sigmoid", net.add("Mul", x, net.positive(5))))


@pytest.mark.parametrize("function", [gelu, leaky, sharp_swish])
def test_one_value_read_at_several_scales(
    function: Callable[[Net, Value], Value], road: str
) -> None:
    net = Net(x=(1, 4))
    y = net.dense(function(net, net.dense(net.x[0], 5)), 3)
    assert bootstraps(compiled(net, y, road=road)) == {"Lookup": 5}


def test_only_what_is_kept_is_computed() -> None:
    net = Net(x=(1, 4))
    x = net.add("Tanh", net.dense(net.x[0], 6))
    kept = net.add("Slice", x, np.array([0]), np.array([2]), np.array([1]))
    assert bootstraps(compiled(net, net.dense(kept, 3))) == {"Lookup": 2}


def test_copies_are_looked_up_once(road: str) -> None:
    """Upsampling before normalisation and activation: the function belongs to what is repeated."""
    net = Net(x=(1, 1, 4, 4))
    x = net.conv(net.x[0], 2, (3, 3))  # [1, 2, 2, 2]
    x = net.add("Reshape", x, np.array([1, 2, 2, 1, 2, 1]))
    x = net.add("Expand", x, np.array([1, 2, 2, 3, 2, 3]))
    x = gelu(net, net.batch_norm(net.add("Reshape", x, np.array([1, 2, 6, 6]))))
    y = net.dense(net.add("Flatten", x), 3)
    assert bootstraps(compiled(net, y, road=road)) == {"Lookup": 2 * 2 * 2}


def test_copies_with_constants_of_their_own_are_looked_up_each() -> None:
    net = Net(x=(1, 4))
    x = net.add("Reshape", net.dense(net.x[0], 3), np.array([1, 3, 1]))
    x = net.add("Tanh", net.add("Add", x, net.weights(1, 3, 4)))
    y = net.dense(net.add("Flatten", x), 3)
    assert bootstraps(compiled(net, y)) == {"Lookup": 3 * 4}


def test_only_what_layers_read_is_computed() -> None:
    """Two layers read parts of a value, a third weighs channels with 0, a fourth skips places."""
    net = Net(x=(1, 4))
    x = net.add("Tanh", net.dense(net.x[0], 9))
    first, _, rest = net.split(x, [2, 3, 4], 1)
    weights = net.weights(4, 3, terms=4)
    weights[1:3] = 0
    parts = [net.dense(first, 3), net.add("MatMul", rest, weights)]
    assert bootstraps(compiled(net, net.add("Concat", *parts, axis=1))) == {"Lookup": 2 + 2}
    net = Net(x=(1, 1, 7, 7))
    x = net.add("Tanh", net.conv(net.x[0], 3, (3, 3)))  # [1, 3, 5, 5]
    weights = net.weights(2, 3, 1, 1, terms=3)
    weights[:, 1] = 0
    y = net.add("Conv", x, weights, strides=[2, 2])
    assert bootstraps(compiled(net, net.add("Flatten", y))) == {"Lookup": 2 * 3 * 3}


def test_client_works_for_free() -> None:
    """What comes before the first weights: scaling, opaque operators, maxima."""
    net = Net(x=(1, 1, 4, 4))
    x = net.add("Tanh", net.add("Sub", net.x[0], np.float32(0.5)))
    x = net.add("MaxPool", x, kernel_shape=[2, 2])
    x = net.add("Softmax", net.add("Flatten", x), axis=1)
    module = compiled(net, net.dense(x, 3))
    assert bootstraps(module) == {}
    assert [op.opname for op in module.circuit.ops] == ["input", "matmul", "return"]


def counted(name: str) -> tuple[dict[str, int], float]:
    """Bootstraps of an example model, and how often its answers are those of the floats."""
    with np.load(MODELS / f"{name}.npz") as data:
        x, test = data["x_train"][:500, None], data["x_test"][:200, None]
    module = import_model(MODELS / f"{name}.onnx")
    floats = Program(module.clone()).run({"x": test})[0]
    Pipeline.parse(ROADS[0]).execute(module, Context(samples={"x": x}))
    integers = Program(module).run({"x": test})[0]
    return bootstraps(module), float(np.mean(answers(floats) == answers(integers)))


def answers(y: Array) -> Array:
    return y.argmax(-1) if y.shape[-1] > 1 else y > 0.5


@pytest.mark.parametrize(
    ("name", "elements"),
    [
        ("logreg14", 0),
        ("iris_fc", 60),
        ("checker_10", 20),
        ("checker_30", 60),
        ("checker_100", 200),
        ("digits_cnn", 384),
    ],
)
def test_example_models(name: str, elements: int) -> None:
    """One look-up element for each activation, none for those that are always cut off."""
    counts, agreement = counted(name)
    assert counts.keys() == ({"Lookup"} if elements else set())
    assert 0.7 * elements < counts["Lookup"] <= elements if elements else not counts
    assert agreement > 0.85
