"""Walkthroughs of Concrete ML's documentation, with other import lines and smaller data."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from benchmarks.checkerboard import Data, SimpleNet, checkerboard, trained
from lutra.ir.types import Array
from lutra.onnx import compile_onnx_model
from lutra.quantization import PostTrainingAffineQuantization
from lutra.torch import NumpyModule, compile_torch_model

MODELS = Path(__file__).parents[2] / "examples" / "models"
QAT = Path(__file__).parents[1] / "data" / "qat"


@pytest.fixture(scope="module")
def data() -> Data:
    torch.set_num_threads(1)
    return checkerboard()


def accuracy(predict: Callable[[Array], Array], x: Array, y: Array) -> float:
    return float((predict(x).argmax(1) == y).mean())


# --- logistic regression --------------------------------------------------------------------------
class LogisticRegression(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.fc1(x))


@pytest.fixture(scope="module")
def regression() -> tuple[LogisticRegression, Array, Array]:
    """Two clouds of points, and a model that tells them apart."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 400)
    x = (rng.normal(size=(400, 2)) + 2.5 * y[:, None]).astype(np.float32)
    torch.manual_seed(0)
    model = LogisticRegression()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        loss = nn.functional.binary_cross_entropy(
            model(torch.tensor(x))[:, 0], torch.tensor(y, dtype=torch.float32)
        )
        loss.backward()
        optimizer.step()
    return model, x, y


@pytest.mark.parametrize("n_bits", [2, 3, 6])
def test_logistic_regression(
    regression: tuple[LogisticRegression, Array, Array], n_bits: int
) -> None:
    model, x, y = regression
    numpy_model = NumpyModule(model, torch.tensor(x))
    floats = float(((numpy_model(x)[:, 0] > 0.5) == y).mean())
    calibrated = PostTrainingAffineQuantization(n_bits, numpy_model).quantize_module(x)
    calibrated.compile(x)
    quantized = float(((calibrated.forward(x, fhe="simulate")[:, 0] > 0.5) == y).mean())
    assert floats > 0.93
    assert quantized >= floats - 0.02
    assert calibrated.model.pbs_count == 0  # the sigmoid is the client's


# --- the checkerboard -----------------------------------------------------------------------------
@pytest.mark.parametrize("active", [None, 30])
def test_nets_on_a_checkerboard_at_three_bits(data: Data, active: int | None) -> None:
    """Where Concrete ML documents 56 to 58 %."""
    net = trained(100, active, data, epochs=8)
    with torch.no_grad():
        floats = float((net(torch.tensor(data.x_test)).numpy().argmax(1) == data.y_test).mean())
    n_bits = {"op_inputs": 3, "op_weights": 3, "model_inputs": 4}
    module = compile_torch_model(net, data.x[:1000], n_bits=n_bits)
    assert module.fhe_circuit is not None
    assert module.fhe_circuit.graph.maximum_integer_bit_width() <= 9
    assert floats > 0.85
    assert accuracy(module.forward, data.x_test, data.y_test) > 0.76


def test_pruned_nets_can_be_exported_before_unpruning(data: Data) -> None:
    torch.manual_seed(0)
    net = SimpleNet(20)
    net.prune(5)
    x = data.x[:50]
    with torch.no_grad():
        expected = net.eval()(torch.tensor(x)).numpy()
    np.testing.assert_allclose(NumpyModule(net, x)(x), expected, atol=1e-5)


# --- shipped models -------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "loss", "n_bits", "rounding"),
    [
        ("iris_fc", 0.0, 7, {"n_bits": 6, "method": "APPROXIMATE"}),
        ("digits_cnn", 0.01, 6, {"n_bits": 6, "method": "APPROXIMATE"}),
    ],
)
def test_shipped_models_lose_no_more_than(
    name: str, loss: float, n_bits: int, rounding: dict[str, object]
) -> None:
    arrays = np.load(MODELS / f"{name}.npz")
    model = onnx.load(MODELS / f"{name}.onnx")
    x, y = arrays["x_test"], arrays["y_test"]
    floats = accuracy(NumpyModule(model), x, y)
    module = compile_onnx_model(
        model, arrays["x_train"][:500], n_bits=n_bits, rounding_threshold_bits=rounding
    )
    assert accuracy(module.forward, x, y) >= floats - loss
    assert accuracy(lambda x: module.forward(x, fhe="simulate"), x, y) >= floats - loss - 0.021


def test_quantization_that_onnx_models_bring() -> None:
    """A model of quantization-aware training, as QCDQ and as QONNX."""
    arrays = np.load(QAT / "qat_mlp12.npz")
    x, y = arrays["x_test"], arrays["y_test"]
    for form in ("qcdq", "qonnx"):
        model = onnx.load(QAT / f"qat_mlp12.{form}.onnx")
        floats = NumpyModule(model)(x)
        module = compile_onnx_model(model, x[:200], import_qat=True, n_bits=8)
        np.testing.assert_allclose(module.forward(x), floats, atol=1e-4)
        np.testing.assert_allclose(floats, arrays["brevitas_out"], atol=1e-4)
        assert accuracy(module.forward, x, y) > 0.94


class FakeQuantized(nn.Module):
    """Quantized in training by PyTorch's own means, to 8 bits."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(2, 6)
        self.fc2 = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.fake_quantize_per_tensor_affine(x, 2 / 255, 128, 0, 255)
        w1 = torch.fake_quantize_per_tensor_affine(self.fc1.weight, 0.01, 0, -128, 127)
        x = torch.relu(nn.functional.linear(x, w1, self.fc1.bias))
        x = torch.fake_quantize_per_tensor_affine(x, 0.01, 0, 0, 255)
        w2 = torch.fake_quantize_per_tensor_affine(self.fc2.weight, 0.01, 0, -128, 127)
        return nn.functional.linear(x, w2, self.fc2.bias)


def test_quantization_that_torch_models_bring() -> None:
    torch.manual_seed(0)
    model = FakeQuantized()
    x = np.random.default_rng(0).uniform(-1, 1, (100, 2)).astype(np.float32)
    with torch.no_grad():
        expected = model(torch.tensor(x)).numpy()
    module = compile_torch_model(model, x, import_qat=True, p_error=0.01)
    np.testing.assert_allclose(module.forward(x), expected, atol=0.02)
    assert module.input_quantizers[0].n_bits == 8


class Steps(nn.Module):
    """Rounds to a few values, as hand-written quantization does."""

    def __init__(self, steps: int, largest: float) -> None:
        super().__init__()
        self.scale = largest / steps
        self.steps = steps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.round(torch.clamp(x / self.scale, 0, self.steps)) * self.scale


def test_quantization_that_models_say_by_floats_alone() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(Steps(15, 1.0), nn.Linear(3, 8), Steps(7, 0.9), nn.Linear(8, 2))
    with torch.no_grad():
        for layer in (model[1], model[3]):
            step = layer.weight.abs().max() / 3
            layer.weight.copy_(torch.round(layer.weight / step) * step)
    x = np.random.default_rng(0).uniform(0, 1, (500, 3)).astype(np.float32)
    with torch.no_grad():
        expected = model(torch.tensor(x)).numpy()
    n_bits = {"op_inputs": 3, "op_weights": 3, "model_inputs": 4}
    module = compile_torch_model(model, x, import_qat=True, n_bits=n_bits)
    np.testing.assert_allclose(module.forward(x), expected, atol=1e-4)
