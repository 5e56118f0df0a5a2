"""Small views of ONNX protobufs: what nodes read, renaming, static types."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import onnx
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, TypeProto

RANDOM = (
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
)
"""ONNX's operators that draw random numbers. (Their schemas say so of some others too.)"""


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs among a node's attributes (bodies of If, Loop, Scan)."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def with_inner(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """Nodes, and those in their subgraphs."""
    for node in nodes:
        yield node
        for graph in subgraphs(node):
            yield from with_inner(graph.node)


def reads(nodes: Iterable[NodeProto]) -> Iterator[str]:
    """Every name that nodes read, subgraphs and what they capture included."""
    for node in nodes:
        yield from (name for name in node.input if name)
        for graph in subgraphs(node):
            yield from reads(graph.node)
            yield from (output.name for output in graph.output)


def captured(node: NodeProto) -> set[str]:
    """Names that a node's subgraphs read of what is around them."""
    found: set[str] = set()
    for graph in subgraphs(node):
        made = {value.name for value in (*graph.input, *graph.initializer)}
        for inner in graph.node:
            found |= {*filter(None, inner.input), *captured(inner)} - made
            made.update(inner.output)
        found |= {output.name for output in graph.output} - made
    return found


def rename(nodes: Iterable[NodeProto], names: Mapping[str, str]) -> None:
    """Rename values in place, in subgraphs too."""
    for node in nodes:
        for field in (node.input, node.output):
            for i, name in enumerate(field):
                field[i] = names.get(name, name)
        for graph in subgraphs(node):
            rename(graph.node, names)
            for output in graph.output:
                output.name = names.get(output.name, output.name)


def unused(stem: str, taken: set[str]) -> str:
    """`stem`, numbered where that name is taken; the name found is taken from then on."""
    name, count = stem, 0
    while name in taken:
        count += 1
        name = f"{stem}_{count}"
    taken.add(name)
    return name


def schema_of(node: NodeProto, version: int) -> onnx.defs.OpSchema | None:
    """The operator's schema at an opset; None where onnx knows no such operator."""
    try:
        return onnx.defs.get_schema(node.op_type, version, node.domain)
    except onnx.defs.SchemaError:
        return None


def has_body(schema: onnx.defs.OpSchema) -> bool:
    """Whether ONNX defines the operator by others."""
    fixed: bool = schema.has_function  # type: ignore[attr-defined]
    return fixed or bool(schema.has_context_dependent_function)  # type: ignore[attr-defined]


def element_type_of(type: TypeProto | None) -> int:
    """A tensor's element type, UNDEFINED where it is not known."""
    return type.tensor_type.elem_type if type is not None else TensorProto.UNDEFINED


def shape_of(type: TypeProto | None) -> tuple[int, ...] | None:
    """The shape of a tensor whose dimensions are all known, else None."""
    if type is None or not type.tensor_type.elem_type or not type.tensor_type.HasField("shape"):
        return None
    dims = type.tensor_type.shape.dim
    if not all(dim.HasField("dim_value") and dim.dim_value >= 0 for dim in dims):
        return None
    return tuple(dim.dim_value for dim in dims)


def is_typed(names: Iterable[str], types: Mapping[str, TypeProto]) -> bool:
    """Whether all these values are tensors of known element type and static shape."""
    return all(shape_of(types.get(name)) is not None for name in names if name)


def text_of(type: TypeProto | None) -> str:
    """A type as an error shows it: `float[1,N,?]`."""
    if type is None or not type.WhichOneof("value"):
        return "unknown"
    if not type.HasField("tensor_type"):
        return str(type.WhichOneof("value")).removesuffix("_type")
    tensor = type.tensor_type
    element = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
    if not tensor.HasField("shape"):
        return f"{element}[of unknown rank]"
    dims = (str(d.dim_value or d.dim_param or "?") for d in tensor.shape.dim)
    return f"{element}[{','.join(dims)}]"
