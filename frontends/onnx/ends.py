"""Inputs and outputs of types that numpy does not have by itself, as types that it has."""

from __future__ import annotations

from collections.abc import Iterable

from onnx import ModelProto, NodeProto, ValueInfoProto, helper

from lutra.frontends.onnx.proto import element_type_of, rename, unused
from lutra.ir.carriers import CARRIERS


def make_ends_native(model: ModelProto) -> None:
    """Put a Cast behind each such input of a normalised model and before each such output.

    bfloat16 and the floats of 8 bits become float32, integers of 4 bits those of 8.
    """
    graph = model.graph
    inputs = _foreign(graph.input)
    outputs = {name: value for name, value in _foreign(graph.output).items() if name not in inputs}
    ends = {**inputs, **outputs}
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    inner = {name: unused(f"{name}/inner", taken) for name in ends}
    rename(graph.node, inner)
    for tensor in graph.initializer:
        tensor.name = inner.get(tensor.name, tensor.name)
    kinds = {name: element_type_of(value.type) for name, value in ends.items()}
    before = [_cast(name, inner[name], kinds[name]) for name in inputs]
    behind = [_cast(inner[name], name, CARRIERS[kinds[name]]) for name in outputs]
    for name, value in ends.items():
        graph.value_info.add(name=inner[name]).type.CopyFrom(value.type)
    for value in (*graph.input, *graph.output):
        if value.name in ends:
            value.type.tensor_type.elem_type = CARRIERS[kinds[value.name]]
    nodes = [*before, *graph.node, *behind]
    del graph.node[:]
    graph.node.extend(nodes)


def _foreign(values: Iterable[ValueInfoProto]) -> dict[str, ValueInfoProto]:
    return {value.name: value for value in values if element_type_of(value.type) in CARRIERS}


def _cast(source: str, target: str, kind: int) -> NodeProto:
    return helper.make_node("Cast", [source], [target], f"{target}/Cast", to=kind)
