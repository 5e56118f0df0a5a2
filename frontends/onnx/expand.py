"""Operators that ONNX defines by others, replaced by their bodies where they cannot stay."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import onnx
from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    TypeProto,
    helper,
    inliner,
)

from lutra.frontends.onnx.cleanup import splice
from lutra.frontends.onnx.domains import STANDARD_DOMAINS
from lutra.frontends.onnx.draft import Draft
from lutra.frontends.onnx.proto import has_body, is_typed, schema_of, subgraphs
from lutra.frontends.onnx.shapes import infer
from lutra.frontends.onnx.support import refusals
from lutra.frontends.onnx.widen import widen
from lutra.ir.ort import IR_VERSION, OPSET

Types = Mapping[str, TypeProto]

CALLED = "lutra.called"
"""The domain that operators are in while their bodies are put in their places."""


def write_defaults(draft: Draft) -> None:
    """Write down the default attributes of operators with bodies.

    onnx forgets them where it looks into a body (MeanVarianceNormalization's axes).
    """
    for node in draft.graph.node:
        schema = schema_of(node, draft.version) if node.domain in STANDARD_DOMAINS else None
        if schema is None or not has_body(schema):
            continue
        given = {attribute.name for attribute in node.attribute}
        for name, attribute in schema.attributes.items():
            if name not in given and attribute.default_value.type != AttributeProto.UNDEFINED:
                node.attribute.append(attribute.default_value)


def expand_newer(draft: Draft) -> None:
    """Expand operators that opset `OPSET` does not have yet, and those in their bodies.

    Where only a type is new, run them on a wider one.
    """
    changed = True
    while changed:
        write_defaults(draft)
        infer(draft)
        types = draft.types()
        newer = {node.name for node in draft.graph.node if _is_newer(node, types)}
        changed = widen(draft) or _expand(draft, _is_newer) or widen(draft, newer)


def _is_newer(node: NodeProto, types: Types) -> bool:
    """Whether opset `OPSET` has no such operator, or not for these types and attributes."""
    if node.domain:
        return False
    schema = schema_of(node, OPSET)
    if schema is None or any(a.name not in schema.attributes for a in node.attribute):
        return True
    first = types.get(node.input[0]) if node.input else None
    allowed = schema.inputs[0].types if schema.inputs else ()
    if first is None or not allowed:
        return False
    name = TensorProto.DataType.Name(first.tensor_type.elem_type).lower()
    return f"tensor({name})" not in allowed


def expand_stuck(draft: Draft) -> bool:
    """Expand operators that onnxruntime cannot run, or whose result types onnx does not find.

    Where there is nothing to expand, run them on wider integers.
    """
    types = draft.types()
    refused = refusals(draft, types)

    def is_stuck(node: NodeProto, types: Types) -> bool:
        return node.name in refused or (
            is_typed(node.input, types) and not is_typed(node.output, types)
        )

    return widen(draft) or _expand(draft, is_stuck) or widen(draft, refused)


def _expand(draft: Draft, chosen: Callable[[NodeProto, Types], bool]) -> bool:
    types, taken = draft.types(), draft.names()
    nodes: list[NodeProto] = []
    changed = False
    for node in draft.graph.node:
        body = _body(draft, node, types) if chosen(node, types) else None
        results = [name for name in node.output if name]
        nodes.extend(splice(draft, body, node, results, taken) if body else [node])
        changed |= body is not None
    draft.set_nodes(nodes)
    return changed


def _body(draft: Draft, node: NodeProto, types: Types) -> GraphProto | None:
    """The body of one node as a graph that reads and writes the node's own values."""
    schema = schema_of(node, draft.version)
    if schema is None or not has_body(schema) or not is_typed(node.input, types):
        return None
    inputs = [helper.make_value_info(n, types[n]) for n in dict.fromkeys(node.input) if n]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    model = helper.make_model(
        helper.make_graph([node], "call", inputs, outputs),
        ir_version=IR_VERSION,
        opset_imports=draft.model.opset_import,
    )
    called = [(node.domain, node.op_type), (CALLED, node.op_type)]
    try:
        if schema.has_context_dependent_function and "" in node.input:  # type: ignore[attr-defined]
            _define(model, schema, [types.get(name, TypeProto()) for name in node.input])
            inlined = inliner.inline_local_functions(model, convert_version=True)
        else:
            inlined = inliner.inline_selected_functions(
                model, called[:1], inline_schema_functions=True
            )
    except Exception:  # the body exists only for other types or attributes
        return None
    body: GraphProto = inlined.graph
    useless = any((n.domain, n.op_type) in called or any(subgraphs(n)) for n in body.node)
    complete = {o.name for o in outputs} <= {name for n in body.node for name in n.output}
    return body if complete and not useless else None


def _define(model: ModelProto, schema: onnx.defs.OpSchema, types: Sequence[TypeProto]) -> None:
    """Make the one node of a model call a function of the model, which has the operator's body.

    onnx's inliner does not look for bodies where an operand is left out before the last one.
    """
    (call,) = model.graph.node
    text = schema.get_context_dependent_function_with_opset_version(  # type: ignore[attr-defined]
        model.opset_import[0].version,
        call.SerializeToString(),
        [type.SerializeToString() for type in types],
    )
    function = FunctionProto.FromString(text)
    function.domain = call.domain = CALLED
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid(CALLED, 1))
