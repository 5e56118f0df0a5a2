"""Nets of the usual shapes become legal circuits with as many look-ups as counted by hand."""

from __future__ import annotations

from collections import Counter
from math import prod
from pathlib import Path

import numpy as np
import onnx

from lutra.frontends.onnx import import_model
from lutra.ir.analysis import look_ups
from lutra.ir.core import Module, Value
from lutra.ir.types import Tensor
from lutra.passes import Context, Pipeline
from lutra.testing.nets import Net

ROAD = (
    "import-quantized,clean,check-support,calibrate,quantize{weights=4},lower-quantized,ranges,"
    "round{bits=5},center,fuse,simplify-lookups,clean,partition,legalize"
)
"""The wide road with weights as they are: what becomes of the structure does not depend on them."""
LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


def bootstraps(module: Module) -> Counter[str]:
    rng = np.random.default_rng(0)
    feeds = {
        node.name: rng.normal(size=(2, *node.type.shape)).astype(np.float32)
        for node in module.main.inputs
        if isinstance(node.type, Tensor)
    }
    Pipeline.parse(ROAD).execute(module, Context(samples=feeds))
    counts: Counter[str] = Counter()
    for site in look_ups(module.circuit):
        counts[site.op.opname] += site.count
    return counts


def maxima(channels: int, before: int, after: int, kernel: int = 3) -> int:
    """Pooling along one axis, then along the other."""
    return channels * (kernel - 1) * (after * before + after * after)


def test_squeezenet() -> None:
    counts = bootstraps(import_model(LIGHT / "light_squeezenet.onnx"))
    fires = [(16, 64, 55)] * 2 + [(32, 128, 27)] * 2 + [(48, 192, 13)] * 2 + [(64, 256, 13)] * 2
    activations = 64 * 111**2 + sum((squeeze + 2 * wide) * n**2 for squeeze, wide, n in fires)
    pools = maxima(64, 111, 55) + maxima(128, 55, 27) + maxima(256, 27, 13)
    assert counts == {"lookup": activations, "max": pools}


class Builder:
    """Counts the activations of a convolutional net while building it."""

    def __init__(self) -> None:
        self.net = Net(x=(1, 3, 32, 32))
        self.activations = 0

    def conv(self, x: Value, channels: int, size: int = 3, stride: int = 1) -> Value:
        pads = [size // 2] * 4
        made = self.net.conv(x, channels, (size, size), strides=[stride] * 2, pads=pads)
        return self.net.batch_norm(made)

    def relu(self, x: Value) -> Value:
        self.activations += prod(x.shape)
        return self.net.add("Relu", x)

    def block(self, x: Value, channels: int, stride: int) -> Value:
        inner = self.relu(self.conv(x, channels, stride=stride))
        skip = x if stride == 1 else self.conv(x, channels, 1, stride)
        return self.relu(self.net.add("Add", self.conv(inner, channels), skip))


def residual_net(width: int) -> tuple[Builder, Module]:
    """ResNet-18 for images of 32 x 32: two blocks at each of four widths."""
    made = Builder()
    x = made.relu(made.conv(made.net.x[0], width))
    for stage in range(4):
        for index in range(2):
            x = made.block(x, width << stage, 2 if stage and not index else 1)
    flat = made.net.add("Flatten", made.net.add("GlobalAveragePool", x))
    return made, made.net.returns(made.net.dense(flat, 10))


def test_residual_net() -> None:
    made, module = residual_net(4)
    assert sum(bootstraps(module).values()) <= made.activations
    assert made.activations == 4 * 32**2 * (5 + 4 / 2 + 4 / 4 + 4 / 8)


def vgg(width: int) -> tuple[Builder, Module]:
    """VGG-11 for images of 32 x 32, with average pooling."""
    made = Builder()
    x = made.net.x[0]
    for stage, layers in enumerate((1, 1, 2, 2, 2)):
        for _ in range(layers):
            x = made.relu(made.conv(x, width << min(stage, 3)))
        x = made.net.add("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
    y = made.relu(made.net.dense(made.net.add("Flatten", x), 8 * width))
    return made, made.net.returns(made.net.dense(y, 10))


def test_vgg() -> None:
    made, module = vgg(4)
    assert sum(bootstraps(module).values()) <= made.activations
