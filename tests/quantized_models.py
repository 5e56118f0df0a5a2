"""Quantized ONNX models in the formats that people bring, and what they compute by themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from lutra.ir.types import Array
from onnx_models import run

DOMAINS = ("onnx.brevitas", "qonnx.custom_op.general", "finn.custom_op.general")
FORMATS = ("qonnx", "qdq", "qcdq")


# --- reference meaning of QONNX's operators -------------------------------------------------------
def rounded(x: Array, mode: str) -> Array:
    functions = {"ROUND": np.rint, "FLOOR": np.floor, "CEIL": np.ceil, "ROUND_TO_ZERO": np.trunc}
    away = {
        "UP": np.ceil,
        "DOWN": np.floor,
        "HALF_UP": lambda size: np.floor(size + 0.5),
        "HALF_DOWN": lambda size: np.ceil(size - 0.5),
    }
    if mode in away:
        return np.asarray(np.sign(x) * away[mode](np.abs(x)))
    return np.asarray(functions[mode](x))


class _Quant(OpRun):  # type: ignore[misc]
    op_domain = ""

    def _run(
        self,
        x: Array,
        scale: Array,
        zero: Array,
        bits: Array,
        signed: int = 1,
        narrow: int = 0,
        rounding_mode: str = "ROUND",
    ) -> tuple[Array]:
        least = -(2 ** (bits - 1)) + narrow if signed else 0 * bits
        most = 2 ** (bits - 1) - 1 if signed else 2**bits - 1 - narrow
        steps = rounded(np.clip(x / scale + zero, least, most), rounding_mode)
        return (((steps - zero) * scale).astype(np.float32),)


class _BipolarQuant(OpRun):  # type: ignore[misc]
    op_domain = ""

    def _run(self, x: Array, scale: Array) -> tuple[Array]:
        return (np.where(x >= 0, scale, -scale).astype(np.float32),)


class _Trunc(OpRun):  # type: ignore[misc]
    op_domain = ""

    def _run(
        self,
        x: Array,
        scale: Array,
        zero: Array,
        bits: Array,
        new_bits: Array,
        rounding_mode: str = "FLOOR",
    ) -> tuple[Array]:
        steps = np.rint(x / scale + zero) / 2 ** (bits - new_bits)
        return (((rounded(steps, rounding_mode) - zero) * scale).astype(np.float32),)


NEW_OPS = [
    type(kind.__name__[1:], (kind,), {"op_domain": domain})
    for domain in DOMAINS
    for kind in (_Quant, _BipolarQuant, _Trunc)
]


def own_results(model: onnx.ModelProto, x: Array) -> Array:
    """A model's only result for every sample of x [samples, ...], which replaces its batch axis.

    By onnxruntime where it knows the operators, else by onnx's evaluator.
    """
    name = model.graph.input[0].name
    if not any(node.domain in DOMAINS for node in model.graph.node):
        return np.concatenate([run(model, {name: one[None]})[0] for one in x])
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    twin.opset_import.extend(onnx.helper.make_opsetid(domain, 1) for domain in DOMAINS)
    evaluator = ReferenceEvaluator(twin, new_ops=NEW_OPS)
    return np.concatenate([evaluator.run(None, {name: one[None]})[0] for one in x])


# --- building -------------------------------------------------------------------------------------
@dataclass
class Quantized:
    """Builds a model x float[N, *shape] -> y node by node, in one of `FORMATS`.

    qdq quantizes to int8 and uint8 whatever bits are asked for, qcdq clips to them.
    """

    shape: tuple[int, ...]
    format: str = "qonnx"
    domain: str = DOMAINS[0]
    seed: int = 0
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def constant(self, array: Any, dtype: Any = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(onnx.numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def node(self, op_type: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        name = f"{op_type}_{len(self.nodes)}"
        made = onnx.helper.make_node(op_type, inputs, [name], name, domain=domain, **attributes)
        self.nodes.append(made)
        return name

    def quant(
        self,
        x: str,
        scale: Any,
        bits: int = 3,
        signed: int = 1,
        zero: Any = 0,
        mode: str = "ROUND",
        axis: int = 1,
    ) -> str:
        """x on a grid. A scale that is no scalar has as many axes as x, full along `axis`."""
        if self.format == "qonnx":
            parameters = map(self.constant, (scale, zero, bits))
            attributes = {"signed": signed, "narrow": 0, "rounding_mode": mode}
            return self.node("Quant", x, *parameters, domain=self.domain, **attributes)
        assert mode == "ROUND"
        kind = np.int8 if signed else np.uint8
        flat = np.asarray(scale)
        flat = flat if flat.ndim == 0 else flat.reshape(-1)
        grid = self.constant(flat), self.constant(np.full(flat.shape, zero), kind)
        x = self.node("QuantizeLinear", x, *grid, axis=axis)
        if self.format == "qcdq":
            low = -(2 ** (bits - 1)) if signed else 0
            x = self.node("Clip", x, *(self.constant(n, kind) for n in (low, low + 2**bits - 1)))
        return self.node("DequantizeLinear", x, *grid, axis=axis)

    def weights(self, *shape: int, scale: Any = 0.25, bits: int = 3, axis: int = 0) -> str:
        """Random weights on a grid: floats that a quantizer reads, or integers."""
        scale = np.asarray(scale, np.float32)
        integers = self.rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), shape)
        if self.format == "qonnx":
            off_grid = self.rng.uniform(-0.4, 0.4, shape)
            floats = self.constant((integers + off_grid) * scale)
            return self.quant(floats, scale, bits, axis=axis)
        grid = self.constant(scale.reshape(-1) if scale.ndim else scale)
        return self.node("DequantizeLinear", self.constant(integers, np.int8), grid, axis=axis)

    def floats(self, *shape: int, lo: float = -1.0, hi: float = 1.0) -> str:
        """Random numbers that are multiples of 1/8."""
        return self.constant(np.rint(self.rng.uniform(lo, hi, shape) * 8) / 8)

    def batch_norm(self, x: str, channels: int) -> str:
        """Normalisation by constants, of which some factors are negative."""
        scale, bias, mean = (self.floats(channels, lo=-2, hi=2) for _ in range(3))
        var = self.floats(channels, lo=0.5, hi=2)
        return self.node("BatchNormalization", x, scale, bias, mean, var)

    def model(self, y: str) -> onnx.ModelProto:
        """The model with result y; custom domains are not imported, as in files in the wild."""
        kind = onnx.TensorProto.FLOAT
        x = onnx.helper.make_tensor_value_info("x", kind, ("N", *self.shape))
        result = onnx.helper.make_tensor_value_info("y", kind, None)
        nodes = [*self.nodes, onnx.helper.make_node("Identity", [y], ["y"], "y")]
        graph = onnx.helper.make_graph(nodes, "quantized", [x], [result], self.constants)
        imports = [onnx.helper.make_opsetid("", 17)]
        return onnx.helper.make_model(graph, opset_imports=imports, ir_version=8)

    def samples(self, count: int = 40, span: float = 3.0) -> Array:
        """Inputs that are multiples of 1/16: many lie in the middle between two steps."""
        steps = self.rng.uniform(-span, span, (count, *self.shape)) * 16
        return np.asarray(np.rint(steps) / 16, np.float32)
