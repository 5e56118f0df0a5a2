"""Every node gets a name of its own: errors, reports and per-layer options are keyed by it."""

from __future__ import annotations

from lutra.frontends.onnx.draft import Draft
from lutra.frontends.onnx.proto import unused


def name_nodes(draft: Draft) -> None:
    """Keep the model's names; name the rest after operator and position, like `Conv_3`."""
    taken = {node.name for node in draft.graph.node}
    seen: set[str] = set()
    for position, node in enumerate(draft.graph.node):
        if not node.name or node.name in seen:
            node.name = unused(node.name or f"{node.op_type}_{position}", taken)
        seen.add(node.name)
