"""Element types that onnxruntime computes with, but does not exchange with numpy.

Arrays of them have numpy types of `ml_dtypes`. On their way in and out of onnxruntime they travel
as wider types that hold every one of their values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from lutra.ir.types import Array

CARRIERS: dict[int, int] = {
    TensorProto.BFLOAT16: TensorProto.FLOAT,
    TensorProto.FLOAT8E4M3FN: TensorProto.FLOAT,
    TensorProto.FLOAT8E4M3FNUZ: TensorProto.FLOAT,
    TensorProto.FLOAT8E5M2: TensorProto.FLOAT,
    TensorProto.FLOAT8E5M2FNUZ: TensorProto.FLOAT,
    TensorProto.INT4: TensorProto.INT8,
    TensorProto.UINT4: TensorProto.UINT8,
}
"""The type that stands for each on the way."""


def carried(model: ModelProto) -> ModelProto:
    """The model with its inputs and outputs of such types cast to and from their carriers."""
    graph = model.graph
    if not any(map(_is_carried, (*graph.input, *graph.output))):
        return model
    twin = ModelProto()
    twin.CopyFrom(model)
    before = [_entering(value) for value in twin.graph.input if _is_carried(value)]
    sources = {n.output[0]: n.input[0] for n in graph.node if n.op_type == "Identity"}
    behind = [_leaving(value, sources) for value in twin.graph.output if _is_carried(value)]
    read = {name for node in twin.graph.node for name in node.input}
    passed = {v.name for v in graph.output if _is_carried(v) and v.name in sources} - read
    inner = [node for node in twin.graph.node if not passed.intersection(node.output)]
    nodes = [*before, *inner, *behind]
    del twin.graph.node[:]
    twin.graph.node.extend(nodes)
    return twin


def carried_types(values: Iterable[ValueInfoProto]) -> list[np.dtype[np.generic] | None]:
    """Of each input or output the numpy type that is restored behind the way, None for others."""
    return [
        helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        if _is_carried(value)
        else None
        for value in values
    ]


def to_carrier(array: Array) -> Array:
    """An array as onnxruntime takes it."""
    if array.dtype.isbuiltin != 2:  # no type that a package added to numpy
        return array
    carrier = CARRIERS.get(helper.np_dtype_to_tensor_dtype(array.dtype))
    return array.astype(helper.tensor_dtype_to_np_dtype(carrier)) if carrier else array


def from_carriers(
    arrays: Sequence[Array], types: Sequence[np.dtype[np.generic] | None]
) -> list[Array]:
    """Results in the types that the model states."""
    pairs = zip(arrays, types, strict=True)
    return [array if type is None else array.astype(type) for array, type in pairs]


def _is_carried(value: ValueInfoProto) -> bool:
    return value.type.tensor_type.elem_type in CARRIERS


def _entering(value: ValueInfoProto) -> NodeProto:
    inside, kind = value.name, value.type.tensor_type.elem_type
    value.name = f"{inside}/carried"
    value.type.tensor_type.elem_type = CARRIERS[kind]
    return helper.make_node("Cast", [value.name], [inside], to=kind)


def _leaving(value: ValueInfoProto, sources: Mapping[str, str]) -> NodeProto:
    """Casts what an Identity reads, not what it writes: for some types there is no Identity."""
    inside, kind = value.name, value.type.tensor_type.elem_type
    value.name = f"{inside}/carried"
    value.type.tensor_type.elem_type = CARRIERS[kind]
    return helper.make_node("Cast", [sources.get(inside, inside)], [value.name], to=CARRIERS[kind])
