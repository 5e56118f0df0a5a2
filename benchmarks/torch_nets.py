"""PyTorch nets of known shapes for images of 32 x 32, with random weights."""

from __future__ import annotations

import torch
from onnx import ModelProto
from torch import Tensor, nn

from lutra.frontends import torch as frontend


class Block(nn.Module):
    """Two convolutions beside a shortcut, which projects where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.skip: nn.Module = nn.Identity()
        if (inputs, stride) != (outputs, 1):
            projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.skip = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.skip(x))


def resnet18(width: int = 64) -> nn.Module:
    """He et al., "Deep residual learning for image recognition" (2016); the first layer 3 x 3."""
    layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1, bias=False)]
    layers += [nn.BatchNorm2d(width), nn.ReLU()]
    channels = width
    for stage in range(4):
        for index in range(2):
            layers.append(Block(channels, width << stage, 2 if stage and not index else 1))
            channels = width << stage
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)]
    return _initialised(nn.Sequential(*layers))


def vgg11(width: int = 64) -> nn.Module:
    """Simonyan and Zisserman, "Very deep convolutional networks" (2015), configuration A."""
    layers: list[nn.Module] = []
    channels = 3
    for stage, count in enumerate((1, 1, 2, 2, 2)):
        outputs = width << min(stage, 3)
        for _ in range(count):
            layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.BatchNorm2d(outputs)]
            layers.append(nn.ReLU())
            channels = outputs
        layers.append(nn.MaxPool2d(2))
    layers += [nn.Flatten(), nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, 10)]
    return _initialised(nn.Sequential(*layers))


def _initialised(net: nn.Module) -> nn.Module:
    """With weights of which activations keep their size, so that no unit is cut off for good."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return net.eval()


def exported(net: nn.Module) -> ModelProto:
    """A net as ONNX."""
    return frontend.exported(net, (torch.zeros(1, 3, 32, 32),))
