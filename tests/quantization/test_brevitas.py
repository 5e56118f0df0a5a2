"""Brevitas models, where Brevitas is installed: extra `brevitas`."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from benchmarks.checkerboard import Data, checkerboard
from lutra.ir.types import Array
from lutra.torch import compile_brevitas_qat_model

pytest.importorskip("brevitas", reason="Brevitas is not installed")
pytest.importorskip("onnxoptimizer", reason="Brevitas' exporter needs it")
pytestmark = pytest.mark.filterwarnings(
    "ignore:Named tensors and all their associated APIs:UserWarning",
    "ignore::DeprecationWarning",
)


class QuantNet(nn.Module):
    """inputs - hidden - hidden - outputs of Brevitas layers, as its users write them."""

    def __init__(self, sizes: tuple[int, int, int], bits: int = 3) -> None:
        import brevitas.nn as qnn

        super().__init__()
        inputs, hidden, outputs = sizes
        weights = {"bias": True, "weight_bit_width": bits}
        self.quant = qnn.QuantIdentity(bit_width=bits + 1, return_quant_tensor=True)
        self.fc1 = qnn.QuantLinear(inputs, hidden, **weights)
        self.act1 = qnn.QuantReLU(bit_width=bits, return_quant_tensor=True)
        self.fc2 = qnn.QuantLinear(hidden, hidden, **weights)
        self.act2 = qnn.QuantReLU(bit_width=bits, return_quant_tensor=True)
        self.fc3 = qnn.QuantLinear(hidden, outputs, **weights)

    def forward(self, x: torch.Tensor) -> Any:
        x = self.act1(self.fc1(self.quant(x)))
        return self.fc3(self.act2(self.fc2(x)))


def fit(net: nn.Module, x: Array, y: Array, epochs: int) -> nn.Module:
    features, labels = torch.tensor(x), torch.tensor(y)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.005)
    for _ in range(epochs):
        for chosen in torch.randperm(len(x)).split(100):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(features[chosen]), labels[chosen]).backward()
            optimizer.step()
    return net.eval()


def own(net: nn.Module, x: Array) -> Array:
    """What Brevitas itself computes."""
    with torch.no_grad():
        result: Array = net(torch.tensor(x)).numpy()
    return result


def test_the_pruned_net_on_a_checkerboard() -> None:
    """Documented for 30 of 100 neurons: 94.4 % in Brevitas, 91.8 % in Concrete ML at 7 bits."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data: Data = checkerboard()
    net = QuantNet((2, 100, 2), bits=4)
    layers = [net.fc2, net.fc3]
    for layer in layers:
        prune.l1_unstructured(layer, "weight", amount=70 * layer.out_features)
    fit(net, data.x, data.y, epochs=4)
    for layer in layers:
        prune.remove(layer, "weight")
    module = compile_brevitas_qat_model(net, data.x[:500])
    expected = own(net, data.x_test)
    found = module.forward(data.x_test)
    accuracies = [float((z.argmax(1) == data.y_test).mean()) for z in (found, expected)]
    assert accuracies[0] == pytest.approx(accuracies[1], abs=0.005)
    assert set(expected.argmax(1)) == {0, 1}
    np.testing.assert_allclose(found, expected, atol=0.02 * np.abs(expected).max())


@pytest.mark.encrypted
def test_a_small_net_executed() -> None:
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    x = rng.uniform(-1, 1, (500, 12)).astype(np.float32)
    y = (x[:, :6].sum(1) > x[:, 6:].sum(1)).astype(np.int64)
    net = fit(QuantNet((12, 30, 2), bits=2), x, y, epochs=5)
    module = compile_brevitas_qat_model(net, x[:100], p_error=1e-8)
    assert module.fhe_circuit is not None
    assert 0 < module.fhe_circuit.programmable_bootstrap_count <= 60  # neurons that vary
    executed = module.forward(x[:1], fhe="execute")
    np.testing.assert_array_equal(executed, module.forward(x[:1]))
    clear = module.forward(x)
    np.testing.assert_allclose(clear, own(net, x), atol=0.02 * np.abs(clear).max())


def test_the_exported_model_can_be_kept(tmp_path: Path) -> None:
    net = QuantNet((2, 3, 2)).eval()
    x = np.random.default_rng(0).uniform(-1, 1, (20, 2))
    net(torch.tensor(x, dtype=torch.float32))
    path = tmp_path / "net.onnx"
    module = compile_brevitas_qat_model(net, x, n_bits=6, output_onnx_file=path)
    assert {node.op_type for node in onnx.load(path).graph.node} >= {"Quant", "Gemm"}
    assert module.model.pipeline.endswith(",qat{weights=6,activations=6,inputs=6}")
    both = {"model_inputs": 6, "model_outputs": 7}
    assert compile_brevitas_qat_model(net, x, n_bits=both).model.pipeline == module.model.pipeline
