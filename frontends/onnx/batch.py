"""Reshapes that leave the batch alone say so, so that many samples can go through at once."""

from __future__ import annotations

from onnx import NodeProto, numpy_helper

from lutra.frontends.onnx.draft import Draft
from lutra.frontends.onnx.proto import shape_of, unused


def free_batch(draft: Draft) -> None:
    """Reshape of (1, ...) to the constant (1, ...) -> to (0, ...): keep the first dimension.

    The result is the same; the node now also takes a batch of many.
    """
    types, constants, taken = draft.types(), draft.constants(), draft.names()
    for node in draft.graph.node:
        before = shape_of(types.get(node.input[0])) if node.op_type == "Reshape" else None
        if not before or before[0] != 1 or node.domain or _keeps_zeros(node):
            continue
        tensor = constants.get(node.input[1])
        target = numpy_helper.to_array(tensor).copy() if tensor is not None else None
        if target is not None and target.size and target[0] == 1:
            target[0] = 0
            node.input[1] = unused(f"{node.name}/shape", taken)
            draft.add_constant(numpy_helper.from_array(target, node.input[1]))


def _keeps_zeros(node: NodeProto) -> bool:
    """Whether 0 means an empty axis here."""
    return any(attribute.name == "allowzero" and attribute.i for attribute in node.attribute)
