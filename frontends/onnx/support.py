"""What onnxruntime or Lutra cannot take, all of it at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from onnx import NodeProto, TensorProto, TypeProto

from lutra.frontends.onnx.classical import obstacle
from lutra.frontends.onnx.domains import STANDARD_DOMAINS, is_fake_quantizer, with_stand_ins
from lutra.frontends.onnx.draft import Draft
from lutra.frontends.onnx.fake_quantizers import obstacles
from lutra.frontends.onnx.proto import RANDOM, is_typed, schema_of, subgraphs, text_of
from lutra.frontends.onnx.runtime import part_of
from lutra.ir.errors import ModelError
from lutra.ir.ort import OPSET, Session

RUNTIME_DOMAINS = (*STANDARD_DOMAINS, "com.microsoft")
"""Domains whose operators onnxruntime may run."""

UNSUPPORTED_TYPES = (TensorProto.STRING, TensorProto.COMPLEX64, TensorProto.COMPLEX128)

Types = Mapping[str, TypeProto]


def reject_newer(draft: Draft) -> None:
    """Raise F004 with what cannot be imported if an operator is younger than opset `OPSET`."""
    if any(_is_newer(node) for node in draft.graph.node):
        _reject(draft, {})


def reject_unsupported(draft: Draft) -> None:
    """Raise F004 with every node that cannot be imported."""
    refused = refusals(draft, draft.types())
    _reject(draft, refused | obstacles(draft.graph.node, draft.constants()))


def require_runnable(draft: Draft) -> None:
    """Raise F006 where onnxruntime takes each node by itself, but not the model."""
    try:
        Session(with_stand_ins(draft.model))
    except ModelError:
        Session(with_stand_ins(draft.finish()))  # some kernels want their weights as constants


def _reject(draft: Draft, refused: Mapping[str, str]) -> None:
    types = draft.types()
    nodes, lines = [], []
    for node in draft.graph.node:
        if reason := _reason(node, types) or refused.get(node.name):
            nodes.append(node.name)
            lines.append(f"{node.op_type} {node.name}: {reason}")
    for value in draft.graph.input:
        if reason := _type_reason(value.type):
            lines.append(f"input {value.name}: {reason}")
    if lines:
        raise ModelError(
            "F004",
            f"{len(lines)} node(s) or inputs of the model are not supported",
            nodes=nodes,
            lines=lines,
            help="replace these operators, or export only the part of the model before them",
        )


def _is_newer(node: NodeProto) -> bool:
    return node.domain in STANDARD_DOMAINS and schema_of(node, OPSET) is None


def _reason(node: NodeProto, types: Types) -> str | None:
    """Why a node cannot be imported, from its declaration alone."""
    if _is_newer(node):
        return f"ONNX opset {OPSET} has no such operator"
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
        if is_fake_quantizer(node) or not is_typed(node.input, types):
            continue
        outputs = [name for name in node.output if name]
        try:
            Session(part_of(draft, [node], outputs, types)[0])
        except ModelError as error:
            reason = error.message.strip().splitlines()[0].split(" : ")[-1]
            yield node.name, f"onnxruntime refuses it: {reason}"
