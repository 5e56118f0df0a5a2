"""A node's results are those that somebody reads, and those in front of them."""

from __future__ import annotations

from onnx import NodeProto
from onnx.defs import OpSchema

from lutra.frontends.onnx.draft import Draft
from lutra.frontends.onnx.proto import schema_of, unused


def trim_results(draft: Draft) -> None:
    """Drop optional results behind the last one that is read, and name those left out before it.

    MaxPool's indices that nobody reads are dropped; an LSTM of which only the last state is read
    has a first result again, with a type.
    """
    used, taken = draft.used(), draft.names()
    for node in draft.graph.node:
        while len(node.output) > 1 and node.output[-1] not in used and _ends_optional(draft, node):
            del node.output[-1]
        for index, name in enumerate(node.output):
            node.output[index] = name or unused(f"{node.name}/{index}", taken)


def _ends_optional(draft: Draft, node: NodeProto) -> bool:
    schema = schema_of(node, draft.version)
    last = len(node.output) - 1
    if schema is None or last >= len(schema.outputs):
        return False
    return schema.outputs[last].option == OpSchema.FormalParameterOption.Optional
