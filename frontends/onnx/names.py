"""Every node gets a name of its own: errors, reports and per-layer options are keyed by it."""

from __future__ import annotations

from lutra.frontends.onnx.draft import Draft


def name_nodes(draft: Draft) -> None:
    """Keep the model's names; name the rest after operator and position, like `Conv_3`."""
    taken = {node.name for node in draft.graph.node}
    seen: set[str] = set()
    for position, node in enumerate(draft.graph.node):
        if not node.name or node.name in seen:
            stem = node.name or f"{node.op_type}_{position}"
            node.name = stem if stem not in taken else _free(stem, taken)
            taken.add(node.name)
        seen.add(node.name)


def _free(stem: str, taken: set[str]) -> str:
    count = 1
    while f"{stem}_{count}" in taken:
        count += 1
    return f"{stem}_{count}"
