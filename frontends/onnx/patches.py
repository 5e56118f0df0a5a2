"""Steps that onnx's version converter lacks or takes wrongly, done here instead.

The nodes concerned get their final form beforehand, in a domain of their own, which the converter
leaves alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from lutra.frontends.onnx.body import Body
from lutra.frontends.onnx.cleanup import splice
from lutra.frontends.onnx.domains import complete_imports
from lutra.frontends.onnx.draft import Draft
from lutra.frontends.onnx.proto import shape_of, unused
from lutra.frontends.onnx.shifts import unsigned_shift
from lutra.ir.ort import OPSET
from lutra.ir.types import Array

HIDDEN = "lutra.hidden"
"""The domain that nodes are in while the converter runs."""


def hide(draft: Draft) -> None:
    """Put the nodes into the form of opset `OPSET` that the converter would spoil."""
    draft.set_nodes(new for node in list(draft.graph.node) for new in _patched(draft, node))
    complete_imports(draft.model)


def reveal(draft: Draft) -> None:
    """Make them ONNX's own operators again."""
    for node in draft.graph.node:
        node.domain = "" if node.domain == HIDDEN else node.domain
    complete_imports(draft.model)


def _patched(draft: Draft, node: NodeProto) -> Iterator[NodeProto]:
    if node.domain:
        yield node
    elif node.op_type == "GlobalMaxPool" and draft.version > OPSET:
        yield _hidden(node)  # the step down from 22, which only added bfloat16, is missing
    elif node.op_type == "Hardmax" and draft.version < 13:
        yield from _flat_hardmax(draft, node)
    elif node.op_type in ("Upsample", "Resize") and draft.version <= 10:
        yield _resize(draft, node)
    elif node.op_type == "BitShift" and (body := unsigned_shift(node, draft.types())):
        yield from splice(draft, body, node, node.output, draft.names())
    elif node.op_type == "Mod" and _is_float(draft, node) and not _attribute(node, "fmod", 0):
        yield from splice(draft, _floored_mod(draft, node), node, node.output, draft.names())
    else:
        yield node


def _is_float(draft: Draft, node: NodeProto) -> bool:
    type = draft.types().get(node.input[0])
    floats = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
    return type is not None and type.tensor_type.elem_type in floats


def _floored_mod(draft: Draft, node: NodeProto) -> GraphProto:
    """Mod of floats, new in opset 28: the result has the divisor's sign, fmod's the dividend's."""
    x, y = node.input
    dtype = helper.tensor_dtype_to_np_dtype(draft.types()[x].tensor_type.elem_type)
    body = Body()
    rest = body.node("Mod", x, y, fmod=1)
    other = body.node("Less", body.node("Mul", rest, y), body.constant(0, dtype))
    sum_ = body.node("Add", rest, y)
    return body.graph(body.node("Where", other, sum_, rest, name=node.name))


def _flat_hardmax(draft: Draft, node: NodeProto) -> Iterator[NodeProto]:
    """Before opset 13, Hardmax flattened its input to two dimensions, cut at `axis`."""
    shape = shape_of(draft.types().get(node.output[0]))
    axis = _attribute(node, "axis", 1)
    if shape is None:
        yield node
        return
    size = _constant(draft, f"{node.name}/shape", np.asarray(shape, np.int64))
    flat, hot = (unused(f"{node.name}/{part}", draft.names()) for part in ("flat", "hot"))
    before, after = f"{node.name}/Flatten", f"{node.name}/Reshape"
    yield helper.make_node("Flatten", node.input, [flat], before, axis=axis % len(shape))
    yield helper.make_node("Hardmax", [flat], [hot], node.name, domain=HIDDEN, axis=-1)
    yield helper.make_node("Reshape", [hot, size], node.output, after)


def _resize(draft: Draft, node: NodeProto) -> NodeProto:
    """Up to opset 10, pixel i of the result was pixel i / scale of the input.

    Between pixels, `nearest` took the one below, or above where the image shrinks.
    """
    if len(node.input) > 1:
        scales = node.input[1]
    else:
        array = np.asarray(_attribute(node, "scales", []), np.float32)
        scales = _constant(draft, f"{node.name}/scales", array)
    tensor = draft.constants().get(scales)
    shrinks = tensor is not None and bool((numpy_helper.to_array(tensor) < 1).any())
    return helper.make_node(
        "Resize",
        [node.input[0], "", scales],
        node.output,
        node.name,
        domain=HIDDEN,
        mode=_attribute(node, "mode", b"nearest"),
        coordinate_transformation_mode="asymmetric",
        nearest_mode="ceil" if shrinks else "floor",
    )


def _hidden(node: NodeProto) -> NodeProto:
    twin = NodeProto()
    twin.CopyFrom(node)
    twin.domain = HIDDEN
    return twin


def _constant(draft: Draft, stem: str, array: Array) -> str:
    name = unused(stem, draft.names())
    draft.add_constant(numpy_helper.from_array(array, name))
    return name


def _attribute(node: NodeProto, name: str, default: Any) -> Any:
    found = (a for a in node.attribute if a.name == name)
    return next((helper.get_attribute_value(attribute) for attribute in found), default)
