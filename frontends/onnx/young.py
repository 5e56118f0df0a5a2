"""Element types that ONNX has had only since opset `OPSET`, held in wider ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, TypeProto, helper, numpy_helper

from lutra.frontends.onnx.attributes import attributes_of
from lutra.frontends.onnx.body import Body
from lutra.frontends.onnx.cleanup import splice
from lutra.frontends.onnx.draft import Draft
from lutra.frontends.onnx.proto import element_type_of
from lutra.frontends.onnx.shapes import infer

HELD: dict[int, int] = {
    TensorProto.FLOAT4E2M1: TensorProto.FLOAT,
    TensorProto.FLOAT8E8M0: TensorProto.FLOAT,
    TensorProto.INT2: TensorProto.INT8,
    TensorProto.UINT2: TensorProto.UINT8,
}
"""The type that holds the values of each."""

Types = Mapping[str, TypeProto]


def hold_young(draft: Draft) -> None:
    """Give values of such types a wider one, and casts to them the rounding that belongs to it.

    A model in which other nodes compute with such values stays as it is: it cannot be converted.
    """
    infer(draft)
    types = draft.types()
    if not any(map(_is_young, types.values())) or any(
        _computes(node, types) for node in draft.graph.node
    ):
        return
    taken = draft.names()
    nodes = [new for node in draft.graph.node for new in _held(draft, node, types, taken)]
    draft.set_nodes(nodes)
    for tensor in draft.constants().values():
        if tensor.data_type in HELD:
            draft.replace_constant(_wider(tensor))
    for value in (*draft.graph.input, *draft.graph.output, *draft.graph.value_info):
        if _is_young(value.type):
            value.type.tensor_type.elem_type = HELD[value.type.tensor_type.elem_type]


def _is_young(type: TypeProto | None) -> bool:
    return element_type_of(type) in HELD


def _computes(node: NodeProto, types: Types) -> bool:
    """Whether a node computes with values of such a type, where it does not only move them."""
    if node.op_type in ("Cast", "CastLike", "Constant"):
        return False
    read = {element_type_of(types.get(name)) for name in node.input} & {*HELD}
    made = any(_is_young(types.get(name)) for name in node.output)
    if node.op_type == "DequantizeLinear":  # which has integers of 8 bits as well, but no floats
        return any(HELD[kind] == TensorProto.FLOAT for kind in read)
    return made and (not read or node.op_type == "QuantizeLinear")


def _held(draft: Draft, node: NodeProto, types: Types, taken: set[str]) -> Iterator[NodeProto]:
    kind = element_type_of(types.get(node.output[0]))
    if kind in HELD and node.op_type in ("Cast", "CastLike"):
        yield from splice(draft, _ROUNDED[kind](node), node, node.output, taken)
        return
    if node.op_type == "Constant":
        for attribute in node.attribute:
            if attribute.t.data_type in HELD:
                attribute.t.CopyFrom(_wider(attribute.t))
    yield node


def _wider(tensor: TensorProto) -> TensorProto:
    array = numpy_helper.to_array(tensor)
    dtype = helper.tensor_dtype_to_np_dtype(HELD[tensor.data_type])
    return numpy_helper.from_array(array.astype(dtype), tensor.name)


def _int2(node: NodeProto) -> GraphProto:
    """The two lowest bits, of which the upper one is the sign: (x + 2) mod 4 - 2"""
    body = Body()
    two, four = (body.constant(number, np.int32) for number in (2, 4))
    whole = body.node("Cast", node.input[0], to=TensorProto.INT32)
    bits = body.node("Mod", body.node("Add", whole, two), four, name=node.name)
    return body.graph(body.node("Cast", body.node("Sub", bits, two), to=TensorProto.INT8))


def _uint2(node: NodeProto) -> GraphProto:
    """The two lowest bits: x mod 4"""
    body = Body()
    whole = body.node("Cast", node.input[0], to=TensorProto.INT32)
    bits = body.node("Mod", whole, body.constant(4, np.int32), name=node.name)
    return body.graph(body.node("Cast", bits, to=TensorProto.UINT8))


def _float4(node: NodeProto) -> GraphProto:
    """The nearest of 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives; of two the even one."""
    body = Body()
    x = body.node("Cast", node.input[0], to=TensorProto.FLOAT)
    size = body.node("Abs", x)
    low, middle, high, zero, end, start = (
        body.constant(number, np.float32) for number in (0.5, 1, 2, 0, 6, -6)
    )
    wide = body.node("Where", body.node("Less", size, body.constant(4, np.float32)), middle, high)
    step = body.node("Where", body.node("Less", size, high), low, wide)
    nearest = body.node("Mul", body.node("Round", body.node("Div", x, step)), step)
    clipped = body.node("Clip", nearest, start, end, name=node.name)
    return body.graph(body.node("Where", body.node("IsNaN", x), zero, clipped))


def _float8e8m0(node: NodeProto) -> GraphProto:
    """A power of two: that with as many others below it as x has bounds below itself."""
    given = attributes_of(node)
    mode, saturate = given.get("round_mode", "up"), given.get("saturate", 1)
    exponents = np.arange(-127, 128)
    powers = np.exp2(exponents.astype(np.float64))
    body = Body()
    x = body.node("Cast", node.input[0], to=TensorProto.FLOAT)
    column = body.node("Unsqueeze", x, body.constant([-1], np.int64))
    compare, bounds = {
        "up": ("Greater", powers[:-1]),
        "down": ("GreaterOrEqual", powers[1:]),
        "nearest": ("GreaterOrEqual", 0.75 * powers[1:]),
    }[mode]
    above = body.node(compare, column, body.constant(bounds, np.float32))
    ones = body.node("Cast", above, to=TensorProto.INT64)
    last = body.constant([-1], np.int64)
    count = body.node("ReduceSum", ones, last, keepdims=0)
    result = body.node("Gather", body.constant(powers, np.float32), count, name=node.name)
    none = body.constant(np.nan, np.float32)
    lost = body.node("IsNaN", x)
    if not saturate:
        ends = (
            body.node("Less", x, body.constant(powers[0], np.float32)),
            body.node("Greater", x, body.constant(powers[-1], np.float32)),
        )
        for outside in ends:
            lost = body.node("Or", lost, outside)
    return body.graph(body.node("Where", lost, none, result))


_ROUNDED: dict[int, Callable[[NodeProto], GraphProto]] = {
    TensorProto.FLOAT4E2M1: _float4,
    TensorProto.FLOAT8E8M0: _float8e8m0,
    TensorProto.INT2: _int2,
    TensorProto.UINT2: _uint2,
}
"""Casts to each type."""
