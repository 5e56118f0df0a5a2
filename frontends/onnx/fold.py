"""Constant folding: what depends on constants alone is run once, in onnxruntime."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from onnx import NodeProto, TensorProto, TypeProto, numpy_helper

from lutra.frontends.onnx.domains import STANDARD_DOMAINS
from lutra.frontends.onnx.draft import Draft
from lutra.frontends.onnx.proto import RANDOM, captured, reads, shape_of
from lutra.frontends.onnx.runtime import run_nodes
from lutra.ir.errors import ModelError

SHAPE_OPS = ("EyeLike", "Shape", "Size")
"""They read the type of their input, not its value."""


KEPT = ("DequantizeLinear", "Dropout", *RANDOM)
"""Not folded: dequantized weights stay quantized, and random numbers random."""


def lift_constants(draft: Draft) -> bool:
    """Constant nodes that hold a tensor, of any element type -> constants of the graph."""
    lifted = [node for node in draft.graph.node if _holds_tensor(node)]
    for node in lifted:
        tensor = TensorProto()
        tensor.CopyFrom(node.attribute[0].t)
        tensor.name = node.output[0]
        draft.add_constant(tensor)
    draft.drop_nodes(lifted)
    return bool(lifted)


def _holds_tensor(node: NodeProto) -> bool:
    is_constant = node.op_type == "Constant" and not node.domain
    return is_constant and [attribute.name for attribute in node.attribute] == ["value"]


def fold_constants(draft: Draft) -> bool:
    """Replace what depends on constants and on static shapes alone by its value.

    Weights of quantized models stay quantized: DequantizeLinear and the operators of vendors,
    fake quantizers among them, are kept, and so is what depends on them. Nodes that draw random
    numbers are kept, and nodes that onnxruntime cannot run.
    """
    types = draft.types()
    nodes = list(_foldable(draft, types))
    if not nodes:
        return False
    if _evaluate(draft, nodes, types):
        return True
    ready = (_evaluate(draft, [n], types) for n in nodes if _is_known(n, draft.constants(), types))
    return any(list(ready))


def _foldable(draft: Draft, types: Mapping[str, TypeProto]) -> Iterator[NodeProto]:
    known: dict[str, object] = dict(draft.constants())
    for node in draft.graph.node:
        if node.domain not in STANDARD_DOMAINS or node.op_type in KEPT:
            continue
        if _is_known(node, known, types):
            known |= dict.fromkeys(node.output)
            yield node


def _is_known(node: NodeProto, known: Mapping[str, object], types: Mapping[str, TypeProto]) -> bool:
    if all(name in known for name in (*filter(None, node.input), *captured(node))):
        return True
    return node.op_type in SHAPE_OPS and shape_of(types.get(node.input[0])) is not None


def _evaluate(draft: Draft, nodes: Sequence[NodeProto], types: Mapping[str, TypeProto]) -> bool:
    """Replace nodes by the values of those results that others read; False where that fails."""
    made = {name for node in nodes for name in node.output if name}
    rest = [node for node in draft.graph.node if not made.intersection(node.output)]
    read = {*reads(rest), *(output.name for output in draft.graph.output)}
    wanted = sorted(made & read)
    try:
        arrays = run_nodes(draft, nodes, wanted, types) if wanted else []
    except ModelError:
        return False
    for name, array in zip(wanted, arrays, strict=True):
        draft.add_constant(numpy_helper.from_array(array, name))
    draft.drop_nodes(nodes)
    return bool(wanted)
