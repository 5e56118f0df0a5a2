"""Brevitas modules as a source of `compile`: the same integers as their files give.

They run where Brevitas is installed: extra `brevitas`.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

import lutra
from lutra.ir.ops import Lookup, MatMul
from lutra.ir.types import Array

pytest.importorskip("brevitas", reason="Brevitas is not installed")
pytest.importorskip("onnxoptimizer", reason="Brevitas' exporter needs it")
pytestmark = pytest.mark.filterwarnings(
    "ignore:Named tensors and all their associated APIs:UserWarning",
    "ignore::DeprecationWarning",
)

FILES = Path(__file__).parents[1] / "data" / "qat"


class Net(nn.Module):
    """Three layers with quantized inputs and weights, as the files were trained."""

    def __init__(self, sizes: list[tuple[int, int]], bits: int) -> None:
        import brevitas.nn as qnn

        super().__init__()
        for index, (outputs, inputs) in enumerate(sizes, 1):
            quant = qnn.QuantIdentity(bit_width=bits, return_quant_tensor=True)
            layer = qnn.QuantLinear(inputs, outputs, bias=True, weight_bit_width=bits)
            self.add_module(f"q{index - 1}", quant)
            self.add_module(f"f{index}", layer)

    def forward(self, x: torch.Tensor) -> Any:
        x = torch.relu(self.f1(self.q0(x)))
        return self.f3(self.q2(torch.relu(self.f2(self.q1(x)))))


def rebuilt(name: str) -> Net:
    """The module behind a QONNX file."""
    graph = onnx.load(FILES / f"{name}.qonnx.onnx").graph
    constants = {t.name: torch.tensor(numpy_helper.to_array(t)) for t in graph.initializer}
    quants = [node.input for node in graph.node if node.op_type == "Quant"]
    weights = [constants[read[0]] for read in quants if read[0] in constants]
    scales = [constants[read[1]] for read in quants if read[0] not in constants]
    bits = int(constants[quants[0][3]])
    net = Net([tuple(w.shape) for w in weights], bits)
    net(torch.zeros(2, weights[0].shape[1]))  # creates the scales of activations
    state = net.state_dict()
    for index, (weight, scale) in enumerate(zip(weights, scales, strict=True)):
        state[f"f{index + 1}.weight"] = weight
        state[f"f{index + 1}.bias"] = constants[f"f{index + 1}.bias"]
        activation = f"q{index}.act_quant.fused_activation_quant_proxy.tensor_quant"
        state[f"{activation}.scaling_impl.value"] = scale * 2 ** (bits - 1)
    net.load_state_dict(state)
    return net.eval()


def parts(model: lutra.Model) -> list[Array]:
    circuit = model.module.circuit
    found = (op for op in circuit.ops if isinstance(op, MatMul | Lookup))
    return [op.table if isinstance(op, Lookup) else op.w for op in found]


@pytest.mark.parametrize("name", ["qat_mlp12", "qat_checker"])
def test_a_module_and_its_files_become_the_same_integers(name: str) -> None:
    net = rebuilt(name)
    with np.load(FILES / f"{name}.npz") as data:
        x, own = data["x_test"], data["brevitas_out"]
    with torch.no_grad():
        np.testing.assert_array_equal(net(torch.tensor(x)).numpy(), own)
    model = lutra.compile(net, x[:100], "qat")
    np.testing.assert_allclose(np.asarray(model.predict(x)), own, rtol=1e-5, atol=1e-5)
    for form in ("qonnx", "qcdq"):
        twin = lutra.compile(FILES / f"{name}.{form}.onnx", pipeline="qat")
        np.testing.assert_array_equal(np.asarray(twin.predict(x)), np.asarray(model.predict(x)))
        for first, second in zip(parts(twin), parts(model), strict=True):
            np.testing.assert_array_equal(first, second)
