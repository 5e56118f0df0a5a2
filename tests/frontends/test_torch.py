"""PyTorch models as a source of `compile`; those of Brevitas are in test_brevitas.py."""

import numpy as np
import pytest
import torch
from torch import nn

import lutra
from lutra.frontends.registry import import_source
from lutra.ir.errors import InputError
from small_models import points


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(2, 4), nn.Linear(4, 2)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.fc2(torch.relu(self.fc1(features)))
        return y


class Two(nn.Module):
    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return left @ torch.ones(3, 2) - right


@pytest.mark.parametrize("kind", ["array", "double", "tensor", "dict"])
def test_compile_takes_a_module(kind: str) -> None:
    torch.manual_seed(0)
    net, x = Mlp(), points()
    given = {"double": x.astype(np.float64), "tensor": torch.tensor(x), "dict": {"features": x}}
    model = lutra.compile(net, given.get(kind, x), "default{rounding=6}")
    with torch.no_grad():
        expected = net(torch.tensor(x)).numpy()
    assert np.abs(np.asarray(model.predict(x)) - expected).mean() < 0.03


def test_inputs_are_named_like_parameters() -> None:
    left, right = points(5, 3), points(5, 2)
    module = import_source(Two(), examples={"right": right, "left": left})
    assert [(node.name, node.type.shape) for node in module.main.inputs] == [
        ("left", (1, 3)),
        ("right", (1, 2)),
    ]
    with pytest.raises(InputError, match=r"I004.*'left' is missing"):
        import_source(Two(), examples={"x": left, "right": right})


def test_examples_are_needed() -> None:
    with pytest.raises(InputError, match=r"I005.*examples"):
        lutra.compile(Mlp())
