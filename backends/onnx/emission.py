"""From a graph of any level to an ONNX model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import onnx
import onnx.helper

from lutra.backends.onnx.builder import Builder, Emission, elements
from lutra.backends.onnx.floats import FLOATS
from lutra.backends.onnx.linear import LINEAR, input_
from lutra.backends.onnx.movement import MOVEMENT
from lutra.backends.onnx.tables import TABLES
from lutra.ir import ort
from lutra.ir.core import Graph, Input, Op, Return, Value
from lutra.ir.decompose import decomposed
from lutra.ir.errors import BackendError
from lutra.ir.text import text_of_op

Samples = Literal["none", "leading", "first"]


def return_(b: Builder, op: Return) -> None:
    """Nothing: the outputs are named at the end."""


EMISSION: dict[type[Op], Emission] = {
    Input: input_,
    Return: return_,
    **LINEAR,
    **MOVEMENT,
    **TABLES,
    **FLOATS,
}
"""What each operation becomes. Total on the operations of the IR."""


def model_of(
    graph: Graph,
    samples: Samples = "none",
    builder: Builder | None = None,
    emission: Mapping[type[Op], Emission] = EMISSION,
) -> onnx.ModelProto:
    """A graph as an ONNX model with the same input and output names; integers are int64.

    samples says where arrays count samples:
    none     nowhere: shapes are those of the types.
    leading  on an axis in front of the type's shape. Float-level ONNX nodes do not take that.
    first    on the first axis, of size 1 in the types. Whether the graph's nodes bear that is not
             checked here; see `lutra.backends.onnx.batch`.

    builder, emission: how operations are written; integers are int64 without.

    Error B002 where an operation has no ONNX form.
    """
    graph = decomposed(graph)
    b = builder or Builder(int(samples == "leading"))
    names = {node: b.reserve(node.name) for node in graph.inputs}
    outputs = [b.reserve(name) for name in graph.output_names]
    if names and b.lead:
        first = next(iter(names.values()))
        shape = b.nodes_result("Shape", [first], [b.reserve("samples")], start=0, end=1)
        (b.samples,) = shape
    b.names.update((node.result, name) for node, name in names.items())
    for op in graph.ops:
        _emit(b, op, emission)
    for name, value in zip(outputs, graph.outputs, strict=True):
        b.nodes_result("Identity", [b.read(value)], [name])
    body = onnx.helper.make_graph(
        b.nodes,
        graph.name,
        [_info(name, node.result, samples) for node, name in names.items()],
        [_info(name, v, samples) for name, v in zip(outputs, graph.outputs, strict=True)],
        b.initializers,
    )
    return onnx.helper.make_model(
        body,
        opset_imports=ort.opset_imports(b.domains),
        ir_version=ort.IR_VERSION,
        producer_name="lutra",
    )


def _emit(b: Builder, op: Op, emission: Mapping[type[Op], Emission]) -> None:
    problem = None
    if type(op) not in emission:
        problem = "has no ONNX form"
    elif any(not math.prod(value.shape) for value in op.results):
        problem = "makes no elements"
    if problem:
        raise BackendError("B002", f"{op.opname} {problem}", nodes=op.loc, lines=[text_of_op(op)])
    b.at(op)
    results = emission[type(op)](b, op)
    if results is not None:
        names = [results] if isinstance(results, str) else results
        b.names.update(zip(op.results, names, strict=True))


def _info(name: str, value: Value, samples: Samples) -> onnx.ValueInfoProto:
    shape: list[int | str] = list(value.shape)
    if samples == "leading":
        shape.insert(0, "samples")
    elif samples == "first":
        shape[0] = "samples"
    return onnx.helper.make_tensor_value_info(name, ort.element_type(elements(value)), shape)
