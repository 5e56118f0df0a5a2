"""BitShift of signed integers, which opset 28 brought."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, TypeProto, helper

from lutra.frontends.onnx.body import Body
from lutra.frontends.onnx.proto import element_type_of

UNSIGNED: dict[int, int] = {
    TensorProto.INT8: TensorProto.UINT8,
    TensorProto.INT16: TensorProto.UINT16,
    TensorProto.INT32: TensorProto.UINT32,
    TensorProto.INT64: TensorProto.UINT64,
}


def unsigned_shift(node: NodeProto, types: Mapping[str, TypeProto]) -> GraphProto | None:
    """x << y -> unsigned(x) << y, x >> y -> (unsigned(x ^ s) >> y) ^ s, with s = -1 if x < 0 else 0

    By negative y, and by as many bits as there are or more, all bits go: y is compared as unsigned.
    None where nothing is signed.
    """
    x, y = node.input
    kind = element_type_of(types.get(x))
    if kind not in UNSIGNED:
        return None
    signed, unsigned = map(helper.tensor_dtype_to_np_dtype, (kind, UNSIGNED[kind]))
    body = Body()
    direction = next(a.s for a in node.attribute if a.name == "direction")
    signs = ""
    if direction == b"RIGHT":
        zero, ones = (body.constant(number, signed) for number in (0, -1))
        signs = body.node("Where", body.node("Less", x, zero), ones, zero)
        x = body.node("BitwiseXor", x, signs)
    bits, by = (body.node("Cast", value, to=UNSIGNED[kind]) for value in (x, y))
    none = body.constant(0, unsigned)
    fits = body.node("Less", by, body.constant(8 * np.dtype(signed).itemsize, unsigned))
    some = body.node("Where", fits, by, none)
    moved = body.node("BitShift", bits, some, name=node.name, direction=direction)
    result = body.node("Cast", body.node("Where", fits, moved, none), to=kind)
    return body.graph(body.node("BitwiseXor", result, signs) if signs else result)
