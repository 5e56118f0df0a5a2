"""Attributes of ONNX nodes as Python values."""

from __future__ import annotations

from typing import Any

from onnx import AttributeProto, NodeProto, TensorProto, helper, numpy_helper


def attributes_of(node: NodeProto) -> dict[str, Any]:
    """Numbers, strings, lists of them, and arrays for tensors, by name."""
    return {attribute.name: _python(attribute) for attribute in node.attribute}


def _python(attribute: AttributeProto) -> Any:
    value = helper.get_attribute_value(attribute)
    if isinstance(value, TensorProto):
        return numpy_helper.to_array(value)
    if isinstance(value, bytes):
        return value.decode()
    if attribute.type == AttributeProto.STRINGS:
        return [text.decode() for text in value]
    return value if attribute.type in (AttributeProto.INT, AttributeProto.FLOAT) else list(value)
