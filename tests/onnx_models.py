"""Small ONNX models for the tests, and what they compute before Lutra touches them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime

from lutra.ir.types import Array

ONNXRUNTIME = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])
"""Python 3.10 has none after 1.23."""

OLD_RUNTIME = ONNXRUNTIME < (1, 31)
"""It lacks some operators, and computes some otherwise."""


def model_of(text: str, opset: int = 17, **domains: int) -> onnx.ModelProto:
    """A model of the graph `text` in ONNX's own syntax; `my_ops=1` imports domain `my.ops`."""
    imports = {"": opset, **{name.replace("_", "."): v for name, v in domains.items()}}
    listed = ", ".join(f'"{domain}": {version}' for domain, version in imports.items())
    return onnx.parser.parse_model(f"<ir_version: 8, opset_import: [{listed}]>\n{text}")


def run(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> list[Array]:
    """A model's results in onnxruntime, which must read its opset."""
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    twin.ir_version = min(model.ir_version, 10)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        twin.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, dict(feeds)))


def random_feeds(model: onnx.ModelProto, seed: int = 0) -> dict[str, Array]:
    """Normally distributed float32 inputs for a model with static shapes."""
    rng = np.random.default_rng(seed)
    constants = {tensor.name for tensor in model.graph.initializer}
    return {
        value.name: rng.standard_normal(
            [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        ).astype(np.float32)
        for value in model.graph.input
        if value.name not in constants
    }


def op_types(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]
