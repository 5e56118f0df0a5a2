"""What onnxruntime or Lutra cannot take, all of it at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from onnx import ModelProto, NodeProto, TensorProto, TypeProto, helper

from lutra.frontends.onnx.classical import obstacle
from lutra.frontends.onnx.domains import (
    STANDARD_DOMAINS,
    complete_imports,
    is_fake_quantizer,
    with_stand_ins,
)
from lutra.frontends.onnx.draft import Draft, Refused
from lutra.frontends.onnx.fake_quantizers import obstacles
from lutra.frontends.onnx.proto import RANDOM, captured, is_typed, schema_of, subgraphs, text_of
from lutra.frontends.onnx.runtime import part_of
from lutra.ir.errors import ModelError
from lutra.ir.ort import OPSET, Session

RUNTIME_DOMAINS = (*STANDARD_DOMAINS, "com.microsoft")
"""Domains whose operators onnxruntime may run."""

UNSUPPORTED_TYPES = (TensorProto.STRING, TensorProto.COMPLEX64, TensorProto.COMPLEX128)

REFUSED = "lutra.refused"
"""The domain of stand-ins for nodes that cannot be imported."""

YOUNGER = f"ONNX opset {OPSET} has no such operator"

Types = Mapping[str, TypeProto]

Further = Callable[[ModelProto], Iterable[tuple[str, str]]]
"""Says what else is in the way of a model: names of nodes, and lines of text about them."""


def set_aside_newer(draft: Draft) -> None:
    """Set aside what is younger than opset `OPSET`, so that the rest can be converted."""
    _set_aside(draft, {n.name: YOUNGER for n in draft.graph.node if _is_newer(n)}, draft.types())


def set_aside_unsupported(draft: Draft) -> bool:
    """Set aside every node that cannot be imported, as far as the types before it are known."""
    types = draft.types()
    found = refusals(draft, types) | obstacles(draft.graph.node, draft.constants())
    for node in draft.graph.node:
        if reason := _reason(node, types):
            found[node.name] = reason
    return _set_aside(draft, {k: v for k, v in found.items() if k not in draft.refused}, types)


def _set_aside(draft: Draft, reasons: Mapping[str, str], types: Types) -> bool:
    """Put stand-ins, of which only names and types are known, in the places of some nodes."""
    for node in draft.graph.node:
        if node.name not in reasons:
            continue
        known = [types.get(name, TypeProto()) for name in node.output]
        draft.refused[node.name] = Refused(reasons[node.name], known)
        inputs = dict.fromkeys([*node.input, *sorted(captured(node))])
        node.CopyFrom(
            helper.make_node(node.op_type, list(inputs), node.output, node.name, domain=REFUSED)
        )
    if reasons:
        complete_imports(draft.model)
    return bool(reasons)


def reject_refused(draft: Draft, further: Further | None) -> None:
    """Raise F004 with every node that is set aside, every input of an unsupported type, and what
    `further` says of the rest."""
    lines = {
        node.name: f"{node.op_type} {node.name}: {draft.refused[node.name].reason}"
        for node in draft.graph.node
        if node.name in draft.refused
    }
    inputs = [
        f"input {value.name}: {reason}"
        for value in draft.graph.input
        if (reason := _type_reason(value.type))
    ]
    if not lines and not inputs:
        return
    order = [node.name for node in draft.graph.node]
    typed = is_typed([name for node in draft.graph.node for name in node.output], draft.types())
    if further and typed and not inputs:
        others = {name: line for name, line in further(draft.finish()) if name in order}
        lines = others | lines
    nodes = sorted(lines, key=order.index)
    raise ModelError(
        "F004",
        f"{len(lines) + len(inputs)} node(s) or inputs of the model are not supported",
        nodes=nodes,
        lines=[*(lines[name] for name in nodes), *inputs],
        help="replace these operators, or export only the part of the model before them",
    )


def require_runnable(draft: Draft) -> None:
    """Raise F006 where onnxruntime takes each node by itself, but not the model."""
    try:
        Session(with_stand_ins(draft.model))
    except ModelError:
        Session(with_stand_ins(draft.finish()))  # some kernels want their weights as constants


def _is_newer(node: NodeProto) -> bool:
    return node.domain in STANDARD_DOMAINS and schema_of(node, OPSET) is None


def _reason(node: NodeProto, types: Types) -> str | None:
    """Why a node cannot be imported, from its declaration alone."""
    if node.domain == REFUSED:
        return None
    if not is_fake_quantizer(node) and node.domain not in RUNTIME_DOMAINS:
        return f"neither ONNX nor onnxruntime has an operator {node.domain}::{node.op_type}"
    if reason := obstacle(node):
        return reason
    if any(subgraphs(node)):
        return "it runs a subgraph that depends on data"
    if node.op_type in RANDOM:
        return "it draws random numbers"
    if node.op_type == "Dropout":
        return "it is in training mode, or its mask is read"
    if node.op_type == "BatchNormalization" and any(
        attribute.name == "training_mode" and attribute.i for attribute in node.attribute
    ):
        return "it is in training mode"
    named = (types[name] for name in (*node.input, *node.output) if name in types)
    return next(filter(None, map(_type_reason, named)), None)


def _type_reason(type: TypeProto) -> str | None:
    if type.WhichOneof("value") not in (None, "tensor_type"):
        return f"values of type {text_of(type)} are not supported"
    if type.tensor_type.elem_type in UNSUPPORTED_TYPES:
        return f"values of type {text_of(type)} are not supported"
    return None


def refusals(draft: Draft, types: Types) -> dict[str, str]:
    """Nodes that onnxruntime does not load, by name, with its reason."""
    try:
        Session(with_stand_ins(draft.model))
    except ModelError:
        return dict(_refused_nodes(draft, types))
    return {}


def _refused_nodes(draft: Draft, types: Types) -> Iterator[tuple[str, str]]:
    for node in draft.graph.node:
        if is_fake_quantizer(node) or node.name in draft.refused or not is_typed(node.input, types):
            continue
        outputs = [name for name in node.output if name]
        try:
            Session(part_of(draft, [node], outputs, types)[0])
        except ModelError as error:
            reason = error.message.strip().splitlines()[0].split(" : ")[-1]
            yield node.name, f"onnxruntime refuses it: {reason}"
