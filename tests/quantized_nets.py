"""Quantized nets whose grids are powers of two: floats are exact, also between two steps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from quantized_models import Quantized


def mlp(net: Quantized) -> str:
    """Scales by channel, a quantized bias, batch normalization, a softmax at the end."""
    x = net.quant("x", 0.5)
    scales = np.array([[0.25], [0.5], [1.0], [0.125], [0.25]])
    bias = net.quant(net.floats(5), 0.125, 5, axis=0)
    x = net.node("Gemm", x, net.weights(5, 4, scale=scales), bias, transB=1)
    x = net.quant(net.node("Relu", net.batch_norm(x, 5)), 0.5, 2, signed=0)
    weights = net.node("Transpose", net.weights(3, 5), perm=[1, 0])
    x = net.node("Add", net.node("MatMul", x, weights), net.floats(3))
    return net.node("Softmax", x, axis=1)


def convolutions(net: Quantized) -> str:
    """Padding where 0 has its own integer, pooling, a sum of two paths, flattening."""
    x = net.quant("x", 0.25, 4, signed=0, zero=5)
    scales = np.array([0.25, 0.5, 0.5, 0.125]).reshape(4, 1, 1, 1)
    x = net.node("Conv", x, net.weights(4, 2, 3, 3, scale=scales), pads=[1, 1, 1, 1])
    first = net.quant(x, 0.5, 3)
    x = net.node("Conv", first, net.weights(4, 2, 1, 1), net.floats(4), group=2)
    x = net.node("Add", net.quant(x, 0.5, 3), first)
    x = net.node("MaxPool", net.node("Relu", x), kernel_shape=[2, 2], strides=[2, 2])
    x = net.node("Flatten", x)
    return net.node("Gemm", net.quant(x, 1.0, 2, signed=0), net.weights(16, 3, axis=1))


def grids_by_channel(net: Quantized) -> str:
    """Activations with a scale for each channel, pooled before they are quantized."""
    scales = np.array([0.5, 1.0, 0.25]).reshape(1, 3, 1, 1)
    x = net.node("Conv", net.quant("x", 0.25, 4), net.weights(3, 2, 3, 3), net.floats(3))
    x = net.quant(net.node("MaxPool", x, kernel_shape=[2, 2]), scales, 3)
    return net.node("Conv", x, net.weights(3, 1, 1, 1), group=3)


def branches(net: Quantized) -> str:
    """A value read by two layers, joined by Concat, averaged, and quantized at the end."""
    x = net.quant("x", 0.5)
    parts = []
    for kernel, pad in ((1, 0), (3, 1)):
        y = net.node("Conv", x, net.weights(2, 2, kernel, kernel), pads=[pad] * 4)
        parts.append(net.node("Clip", y, net.constant(-1.0), net.constant(2.0)))
    x = net.quant(net.node("Concat", *parts, axis=1), 0.5, 3, zero=1)
    x = net.node("GlobalAveragePool", net.node("Conv", x, net.weights(3, 4, 3, 3)))
    return net.quant(net.node("Sigmoid", x), 1 / 16, 4, signed=0)


def requantized(net: Quantized) -> str:
    """What converters write who quantize every value: also between a layer and its activation."""
    x = net.quant(net.quant("x", 0.25, 5), 0.5, 4)
    x = net.quant(net.node("MatMul", x, net.weights(4, 6)), 0.25, 5)
    x = net.quant(net.node("LeakyRelu", x, alpha=0.25), 0.5, 3)
    return net.quant(net.node("MatMul", x, net.weights(6, 2)), 0.5, 6)


NETS: dict[Callable[[Quantized], str], tuple[int, ...]] = {
    mlp: (4,),
    convolutions: (2, 4, 4),
    grids_by_channel: (2, 4, 4),
    branches: (2, 4, 4),
    requantized: (4,),
}
