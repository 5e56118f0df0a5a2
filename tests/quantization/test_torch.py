"""From PyTorch to quantized modules. Brevitas' own models are tested where it is installed."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from lutra.ir.errors import InputError
from lutra.ir.types import Array
from lutra.quantization import NoEffectWarning
from lutra.torch import (
    NumpyModule,
    build_quantized_module,
    compile_brevitas_qat_model,
    compile_torch_model,
)
from lutra.torch.numpy_module import NumpyModule as SameModule
from small_models import points


class Mlp(nn.Module):
    def __init__(self, hidden: int = 4) -> None:
        super().__init__()
        self.fc1 = nn.Linear(2, hidden)
        self.fc2 = nn.Linear(hidden, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.fc2(torch.relu(self.fc1(x)))
        return y


class Cnn(nn.Module):
    """With what exports in more than one way: padding, batch norm, dropout, pooling, flatten."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(12, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.norm(self.conv(x)))
        h = nn.functional.avg_pool2d(h, 2)
        y: torch.Tensor = self.fc(self.drop(h.view(x.size(0), -1)))
        return y


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(2, 3), nn.Linear(4, 3)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h = torch.sigmoid(self.left(a) + self.right(b))
        return h, self.left(a)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def by_torch(model: nn.Module, *x: Array) -> list[Array]:
    with torch.no_grad():
        y = model.eval()(*(torch.tensor(array, dtype=torch.float32) for array in x))
    return [part.numpy() for part in (y if isinstance(y, tuple) else (y,))]


# --- in the clear ---------------------------------------------------------------------------------
def test_a_numpy_module_is_the_model() -> None:
    x = np.random.default_rng(0).normal(size=(5, 1, 4, 4)).astype(np.float32)
    model = Cnn()
    module = NumpyModule(model, torch.zeros(2, 1, 4, 4))
    np.testing.assert_allclose(module(x), by_torch(model, x)[0], atol=1e-6)
    assert NumpyModule is SameModule


def test_exporting_leaves_the_model_in_its_mode(tmp_path: Path) -> None:
    model = Cnn().train()
    path = tmp_path / "model.onnx"
    module = NumpyModule(model, torch.zeros(1, 1, 4, 4), debug_onnx_output_file_path=path)
    assert model.training
    assert onnx.load(path).graph == module.onnx_model.graph


def test_inputs_are_named_as_forward_names_them() -> None:
    a, b = points(6), points(6, inputs=4)
    model = Two()
    module = NumpyModule(model, (torch.zeros(1, 2), torch.zeros(1, 4)))
    assert module.input_names == ("a", "b")
    for result, expected in zip(module(a, b), by_torch(model, a, b), strict=True):
        np.testing.assert_allclose(result, expected, atol=1e-6)


def test_a_model_without_dummy_input() -> None:
    with pytest.raises(InputError, match="dummy_input"):
        NumpyModule(Mlp())


# --- quantized ------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["array", "double", "tensor", "tuple"])
def test_calibration_data_of_all_kinds(kind: str) -> None:
    x = points()
    given = {"double": x.astype(np.float64), "tensor": torch.tensor(x), "tuple": (x,)}.get(kind, x)
    model = Mlp()
    module = build_quantized_module(model, given, n_bits=6)
    (expected,) = by_torch(model, x)
    assert np.abs(module(x) - expected).mean() < 0.05
    assert not module.is_compiled
    assert module.onnx_model is not None
    assert build_quantized_module(model, given, n_bits=6, keep_onnx=False).onnx_model is None


def test_compiling_in_one_call() -> None:
    x = points()
    module = compile_torch_model(
        Mlp(), x, n_bits=5, rounding_threshold_bits={"method": "APPROXIMATE", "n_bits": 4},
        p_error=0.01,
    )  # fmt: skip
    assert module.fhe_circuit is not None
    assert module.fhe_circuit.p_error == 0.01
    assert set(module.bitwidth_and_range_report()) == {"/fc1/Gemm", "/fc2/Gemm"}
    assert np.abs(module.forward(x, fhe="simulate") - module(x)).mean() < 0.1


def test_a_cnn_and_several_inputs() -> None:
    x = np.random.default_rng(0).normal(size=(50, 1, 4, 4))
    model = Cnn()
    module = build_quantized_module(model, x, n_bits=6, rounding_threshold_bits=6)
    (expected,) = by_torch(model, x)
    assert np.abs(module(x) - expected).mean() < 0.05
    a, b = points(50), points(50, inputs=4)
    two = Two()
    pair = build_quantized_module(two, (a, b), n_bits=6)
    for result, expected in zip(pair(a, b), by_torch(two, a, b), strict=True):
        assert np.abs(result - expected).mean() < 0.02


def test_arguments_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="I001"):
        build_quantized_module(Two(), (points(5), points(6, inputs=4)))
    with pytest.warns(NoEffectWarning, match="reduce_sum_copy"):
        build_quantized_module(Mlp(), points(), n_bits=3, reduce_sum_copy=True)


def test_importing_lutra_imports_no_torch() -> None:
    """Not even these packages do."""
    code = (
        "import sys, lutra, lutra.quantization, lutra.torch, lutra.onnx\n"
        "assert not {'torch', 'concrete', 'brevitas'} & {*sys.modules}, sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd="/")


# --- Brevitas -------------------------------------------------------------------------------------
def test_without_brevitas() -> None:
    try:
        import brevitas  # noqa: F401
    except ModuleNotFoundError:
        said = "extra `brevitas`"
    else:
        said = "compile_torch_model"
    with pytest.raises(InputError, match=said):
        compile_brevitas_qat_model(Mlp(), points())


def test_bits_of_what_brevitas_leaves() -> None:
    with pytest.raises(InputError, match="model_inputs and model_outputs"):
        compile_brevitas_qat_model(Mlp(), points(), n_bits={"op_inputs": 3})
