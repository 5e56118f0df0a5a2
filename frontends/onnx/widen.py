"""Elementwise operators on integers that onnxruntime only knows for wider ones."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from onnx import NodeProto, TensorProto, TypeProto, helper

from lutra.frontends.onnx.draft import Draft
from lutra.frontends.onnx.proto import unused
from lutra.ir.traits import TRAITS, Trait

WIDER: dict[int, int] = {
    TensorProto.INT8: TensorProto.INT32,
    TensorProto.INT16: TensorProto.INT32,
    TensorProto.UINT8: TensorProto.UINT32,
    TensorProto.UINT16: TensorProto.UINT32,
    TensorProto.UINT32: TensorProto.INT64,
    TensorProto.UINT64: TensorProto.INT64,
}
"""What is tried for each type. Results are cast back, which keeps their lowest bits."""


def widen(draft: Draft, refused: Collection[str]) -> bool:
    """f(x, y) -> Cast(f(Cast(x), Cast(y))) for the nodes of these names."""
    types, taken = draft.types(), draft.names()
    nodes: list[NodeProto] = []
    changed = False
    for node in draft.graph.node:
        elementwise = TRAITS.get(node.op_type) is Trait.ELEMENTWISE and not node.domain
        narrow = elementwise and node.op_type != "Cast" and node.name in refused
        new = list(_widened(node, types, taken)) if narrow else [node]
        changed |= len(new) > 1
        nodes.extend(new)
    draft.set_nodes(nodes)
    return changed


def _widened(
    node: NodeProto, types: Mapping[str, TypeProto], taken: set[str]
) -> Iterator[NodeProto]:
    twin = NodeProto()
    twin.CopyFrom(node)
    for index, name in enumerate(node.input):
        wider = WIDER.get(_type(types, name))
        if wider is not None:
            twin.input[index] = unused(f"{name}/wide", taken)
            yield helper.make_node("Cast", [name], [twin.input[index]], to=wider)
    (result,) = node.output
    before = _type(types, result)
    if before in WIDER:
        twin.output[0] = unused(f"{result}/wide", taken)
    yield twin
    if before in WIDER:
        yield helper.make_node("Cast", [twin.output[0]], [result], to=before)


def _type(types: Mapping[str, TypeProto], name: str) -> int:
    return types[name].tensor_type.elem_type if name in types else TensorProto.UNDEFINED
