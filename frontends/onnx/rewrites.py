"""Nodes whose parameters are known, as plainer ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from onnx import NodeProto, TypeProto, helper, numpy_helper

from lutra.frontends.onnx.cleanup import splice
from lutra.frontends.onnx.draft import Draft
from lutra.frontends.onnx.proto import unused
from lutra.frontends.onnx.unusual import usual
from lutra.ir.ort import OPSET


def write_plainer(draft: Draft) -> bool:
    """CastLike(x, y) -> Cast(x), Compress(x, constant) -> Gather(x), and `usual`."""
    types, names = draft.types(), draft.names()
    nodes = [new for node in draft.graph.node for new in _plainer(draft, node, types, names)]
    changed = [node.op_type for node in nodes] != [node.op_type for node in draft.graph.node]
    draft.set_nodes(nodes)
    return changed


def _plainer(
    draft: Draft, node: NodeProto, types: Mapping[str, TypeProto], names: set[str]
) -> Iterator[NodeProto]:
    if node.domain:
        yield node
    elif node.op_type == "CastLike" and node.input[1] in types:
        to = types[node.input[1]].tensor_type.elem_type
        yield helper.make_node("Cast", node.input[:1], node.output, node.name, to=to)
    elif node.op_type == "Compress" and node.input[1] in draft.constants():
        yield from _gathered(draft, node, names)
    elif draft.version == OPSET and (body := usual(draft, node)):
        yield from splice(draft, body, node, node.output, names)
    else:
        yield node


def _gathered(draft: Draft, node: NodeProto, names: set[str]) -> Iterator[NodeProto]:
    """Compress with a constant condition: the elements that it keeps, or all of them flattened."""
    kept = np.flatnonzero(numpy_helper.to_array(draft.constants()[node.input[1]]))
    index = unused(f"{node.name}/index", names)
    draft.add_constant(numpy_helper.from_array(kept, index))
    axis = next((a.i for a in node.attribute if a.name == "axis"), None)
    x = node.input[0]
    if axis is None:
        shape, x = (unused(f"{node.name}/{part}", names) for part in ("shape", "flat"))
        draft.add_constant(numpy_helper.from_array(np.array([-1]), shape))
        yield helper.make_node("Reshape", [node.input[0], shape], [x], f"{node.name}/Reshape")
    yield helper.make_node("Gather", [x, index], node.output, node.name, axis=axis or 0)
