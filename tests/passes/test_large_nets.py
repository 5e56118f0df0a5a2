"""Nets of the usual shapes become legal circuits with as many bootstraps as counted by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch

from benchmarks.expected import expected
from benchmarks.large_nets import bootstraps, light
from benchmarks.torch_nets import exported, resnet18, vgg11
from lutra.frontends.onnx import import_model
from lutra.ir.core import Value
from lutra.testing.nets import Net


def maxima(channels: int, before: int, after: int, kernel: int = 3) -> int:
    """Pooling along one axis, then along the other."""
    return channels * (kernel - 1) * (after * before + after * after)


def test_squeezenet() -> None:
    model = light("squeezenet")
    counts = bootstraps(import_model(model))
    fires = [(16, 64, 55)] * 2 + [(32, 128, 27)] * 2 + [(48, 192, 13)] * 2 + [(64, 256, 13)] * 2
    activations = 64 * 111**2 + sum((squeeze + 2 * wide) * n**2 for squeeze, wide, n in fires)
    pools = maxima(64, 111, 55) + maxima(128, 55, 27) + maxima(256, 27, 13)
    assert counts == {"lookup": activations, "max": pools}
    assert counts == expected(model)


def thin(net: Callable[[int], torch.nn.Module]) -> tuple[Counter[str], Counter[str]]:
    """Bootstraps of a net of width 4 for images of 32 x 32, and what its graph says."""
    torch.manual_seed(0)
    model = exported(net(4))
    return bootstraps(import_model(model)), expected(model)


def test_residual_net() -> None:
    """ResNet-18: two blocks at each of four widths, of two convolutions each."""
    found, wanted = thin(resnet18)
    assert found == wanted == {"lookup": 4 * 32**2 * (1 + 4 + 4 / 2 + 4 / 4 + 4 / 8)}


def test_vgg() -> None:
    """VGG-11: eight convolutions, five pools, a hidden layer behind."""
    found, wanted = thin(vgg11)
    activations = 4 * 32**2 * (1 + 1 / 2 + 2 / 4 + 2 / 8) + 32 * 2**2 * 2 + 32
    pools = [(4, 32), (8, 16), (16, 8), (32, 4), (32, 2)]
    assert found == wanted
    assert found == {
        "lookup": activations,
        "max": sum(maxima(channels, n, n // 2, 2) for channels, n in pools),
    }


def conv(
    net: Net, x: Value, channels: int, size: int = 1, group: int = 1, stride: int = 1
) -> Value:
    """With weights of both signs for each channel: none is cut off, or let through, for good."""
    w = net.weights(channels, x.shape[1] // group, size, size)
    w -= w.mean((1, 2, 3), keepdims=True)
    pads = [size // 2] * 4
    return net.add("Conv", x, w, group=group, strides=[stride] * 2, pads=pads)


def conv_relu(net: Net, x: Value, channels: int, size: int = 1, **how: int) -> Value:
    return net.add("Relu", conv(net, x, channels, size, **how))


def norm(net: Net, x: Value) -> Value:
    """With a bias that lets a part of what is positive go below 0."""
    scale, bias, mean, variance = (net.positive(x.shape[1]) for _ in range(4))
    return net.add("BatchNormalization", x, scale, -bias / 10, mean / 10, variance)


def pooled(net: Net, x: Value, kind: str, stride: int = 1) -> Value:
    strides = [stride] * 2
    return net.add(kind, x, kernel_shape=[3, 3], pads=[1] * 4, strides=strides)


def fire(net: Net, x: Value) -> Value:
    squeezed = conv_relu(net, x, 2)
    return net.add("Concat", conv_relu(net, squeezed, 4), conv_relu(net, squeezed, 4, 3), axis=1)


def inception(net: Net, x: Value) -> Value:
    parts = [
        conv_relu(net, x, 2),
        conv_relu(net, conv_relu(net, x, 3), 4, 3),
        conv_relu(net, conv_relu(net, x, 1), 2, 5),
        conv_relu(net, pooled(net, x, "MaxPool"), 2),
    ]
    return net.add("Concat", *parts, axis=1)


def shuffle(net: Net, x: Value) -> Value:
    """With stride 2: a depthwise convolution between grouped ones, beside averages."""
    y = conv_relu(net, x, 4, group=2)
    y = net.add("Reshape", y, np.array([1, 2, 2, 6, 6]))
    y = net.add("Transpose", y, perm=[0, 2, 1, 3, 4])
    y = net.add("Reshape", y, np.array([1, 4, 6, 6]))
    y = norm(net, conv(net, y, 4, 3, group=4, stride=2))
    y = norm(net, conv(net, y, 4, group=2))
    return net.add("Relu", net.add("Concat", pooled(net, x, "AveragePool", 2), y, axis=1))


def dense(net: Net, x: Value) -> Value:
    """Two layers of growth 2, and the transition to half the size."""
    for _ in range(2):
        y = net.add("Relu", norm(net, x))
        y = net.add("Relu", norm(net, conv(net, y, 3)))
        x = net.add("Concat", x, conv(net, y, 2, 3), axis=1)
    x = conv(net, net.add("Relu", norm(net, x)), 4)
    x = net.add("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
    return net.add("Relu", x)


def normalized(net: Net, x: Value) -> Value:
    return net.add("LRN", x, size=3, alpha=0.5)


def bottleneck(net: Net, x: Value) -> Value:
    """With stride 2 in the first convolution and in the shortcut, as in the first ResNets."""
    y = conv_relu(net, conv_relu(net, x, 2, stride=2), 2, 3)
    y, skip = conv(net, y, 6), conv(net, x, 6, stride=2)
    return net.add("Relu", net.add("Add", norm(net, y), norm(net, skip)))


ALL = 4 * 6 * 6
"""Activations of the layer before a block, 4 channels of 6 x 6."""
POOL = (2 * 6 - 2) * (6 + 6)
"""Maxima for a channel: one less for each window at a border, twice."""
BLOCKS: Mapping[Callable[[Net, Value], Value], Counter[str]] = {
    fire: Counter(lookup=ALL + (2 + 4 + 4) * 36),
    inception: Counter(lookup=ALL + (2 + 3 + 4 + 1 + 2 + 2) * 36, max=4 * POOL),
    shuffle: Counter(lookup=ALL + 4 * 36 + 8 * 9),
    dense: Counter(lookup=ALL + (4 + 3 + 6 + 3 + 8) * 36 + 4 * 9),
    normalized: Counter(lookup=3 * ALL, mul=2 * ALL),
    bottleneck: Counter(lookup=4 * 9 + (2 + 2 + 6) * 9),
}


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.__name__)
def test_block(block: Callable[[Net, Value], Value]) -> None:
    """Between a convolution with ReLU and a last layer."""
    net = Net(x=(1, 3, 6, 6))
    y = block(net, conv_relu(net, net.x[0], 4, 3))
    module = net.returns(net.dense(net.add("Flatten", y), 3))
    assert bootstraps(module) == BLOCKS[block]
