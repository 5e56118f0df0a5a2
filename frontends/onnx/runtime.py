"""Run a few nodes of a draft in onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TypeProto, helper

from lutra.frontends.onnx.draft import Draft
from lutra.frontends.onnx.proto import captured, shape_of
from lutra.ir.errors import ModelError
from lutra.ir.ort import IR_VERSION, Session
from lutra.ir.types import Array


def run_nodes(
    draft: Draft, nodes: Sequence[NodeProto], outputs: Sequence[str], types: Mapping[str, TypeProto]
) -> list[Array]:
    """Results of nodes; what they read that is no constant reads as zeros of its type.

    Raises `ModelError` where onnxruntime cannot run them or a result is not a tensor.
    """
    model, feeds = part_of(draft, nodes, outputs, types)
    names = [node.name for node in nodes]
    arrays = Session(model, names).run(feeds)
    if not all(isinstance(array, np.ndarray) for array in arrays):
        raise ModelError("F004", "a result is not a tensor", nodes=names)
    return arrays


def part_of(
    draft: Draft, nodes: Sequence[NodeProto], outputs: Sequence[str], types: Mapping[str, TypeProto]
) -> tuple[ModelProto, list[Array]]:
    """A model of some nodes with their constants, and arrays of zeros for its inputs."""
    constants = draft.constants()
    made = {name for node in nodes for name in node.output}
    read = (name for node in nodes for name in (*filter(None, node.input), *captured(node)))
    names = [name for name in dict.fromkeys(read) if name not in made]
    inputs = [name for name in names if name not in constants]
    feeds = []
    for name in inputs:
        shape = shape_of(types.get(name))
        if shape is None:
            raise ModelError("F003", f"the shape of {name!r} is not known")
        dtype = helper.tensor_dtype_to_np_dtype(types[name].tensor_type.elem_type)
        feeds.append(np.zeros(shape, dtype))
    graph = helper.make_graph(
        nodes,
        "part",
        [helper.make_value_info(name, types[name]) for name in inputs],
        [onnx.ValueInfoProto(name=name, type=types.get(name)) for name in outputs],
        [constants[name] for name in names if name in constants],
    )
    model = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=draft.model.opset_import)
    return model, feeds
