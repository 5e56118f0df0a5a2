"""Static shapes: fix the inputs', infer all others, and say where that fails."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Integral

from onnx import NodeProto, TensorShapeProto, TypeProto, ValueInfoProto, helper, shape_inference

from lutra.frontends.onnx.domains import is_fake_quantizer, with_stand_ins
from lutra.frontends.onnx.draft import Draft
from lutra.frontends.onnx.proto import is_typed, shape_of, text_of
from lutra.frontends.onnx.runtime import run_nodes
from lutra.ir.errors import InputError, ModelError, did_you_mean

Shapes = Mapping[str, Sequence[int]]


def fix_inputs(draft: Draft, shapes: Shapes | None) -> None:
    """Give every input a static shape.

    `shapes` comes first; a symbol that it binds is bound in the other inputs too. A symbolic first
    dimension that is left is the batch, and becomes 1. Any other raises F003, all of them at once.
    Dimensions of 0 are open ones of exporters that write them so, unless `shapes` says 0 as well.
    """
    shapes = dict(shapes or {})
    for name in shapes:
        if name not in draft.inputs:
            raise InputError(
                "I004", f"the model has no input {name!r}", help=did_you_mean(name, draft.inputs)
            )
    for name, shape in shapes.items():
        if not _are_sizes(shape):
            raise InputError(
                "I005",
                f"the shape of input {name!r} is {shape!r}, no list of sizes",
                help=f"give one number for each axis: shapes={{{name!r}: [1, 3, 32, 32]}}",
            )
    values = [value for value in draft.graph.input if value.name in draft.inputs]
    bound: dict[str, int] = {}
    for value in values:
        if value.name in shapes and value.type.HasField("tensor_type"):
            bound |= _apply(value, tuple(shapes[value.name]))
    others = [value for value in values if value.name not in shapes]
    for value in others:
        bound |= _set_batch(value, bound)
    lost = [text for value in others for text in _bind(value, bound)]
    if lost:
        raise ModelError(
            "F003",
            "sizes are needed that the model leaves open: " + "; ".join(lost),
            help=_shapes_help(draft),
        )


def _are_sizes(shape: object) -> bool:
    return isinstance(shape, Iterable) and all(isinstance(size, Integral) for size in shape)


def _apply(value: ValueInfoProto, shape: tuple[int, ...]) -> dict[str, int]:
    """Set one input's shape; returns what that says of its symbols."""
    tensor = value.type.tensor_type
    dims = list(tensor.shape.dim) if tensor.HasField("shape") else None
    sizes = [int(size) for size in shape]
    if not _fits(sizes, dims):
        raise InputError(
            "I001", f"shape {shape} does not fit input {value.name!r}: {text_of(value.type)}"
        )
    bound = {d.dim_param: s for d, s in zip(dims or [], sizes, strict=False) if d.dim_param}
    value.type.CopyFrom(helper.make_tensor_type_proto(tensor.elem_type, sizes))
    return bound


def _fits(sizes: Sequence[int], dims: Sequence[TensorShapeProto.Dimension] | None) -> bool:
    """Whether sizes have the declared rank, and none is below 1 that is not declared 0."""
    if dims is None:
        return min(sizes, default=1) > 0
    return len(sizes) == len(dims) and all(
        size > 0 or (size == 0 and dim.HasField("dim_value") and dim.dim_value == 0)
        for size, dim in zip(sizes, dims, strict=True)
    )


def _set_batch(value: ValueInfoProto, bound: Mapping[str, int]) -> dict[str, int]:
    """Make an open first dimension 1 unless it is bound; returns what that says of its symbol."""
    dims = value.type.tensor_type.shape.dim
    if not dims or dims[0].dim_value > 0 or dims[0].dim_param in bound:
        return {}
    symbol = dims[0].dim_param
    dims[0].dim_value = 1
    return {symbol: 1} if symbol else {}


def _bind(value: ValueInfoProto, bound: Mapping[str, int]) -> Iterator[str]:
    """Replace an input's symbols by their sizes; yields the axes that stay open."""
    tensor = value.type.tensor_type
    if value.type.HasField("tensor_type") and not tensor.HasField("shape"):
        yield f"input {value.name!r}: its rank"
    for axis, dim in enumerate(tensor.shape.dim):
        if dim.dim_param in bound:
            dim.dim_value = bound[dim.dim_param]
        elif dim.dim_value <= 0:
            yield f"input {value.name!r}: axis {axis} ({dim.dim_param or 'unnamed'})"


def _shapes_help(draft: Draft) -> str:
    def sizes(value: ValueInfoProto) -> str:
        dims = value.type.tensor_type.shape.dim
        return f"({', '.join(str(d.dim_value or '?') for d in dims)})"

    values = [value for value in draft.graph.input if value.name in draft.inputs]
    given = ", ".join(f"{value.name!r}: {sizes(value)}" for value in values)
    return f"give the inputs' shapes, for instance shapes={{{given}}}"


def infer(draft: Draft) -> None:
    """Write down the type of every value, as far as it follows from inputs and constants.

    What the model itself claims of inner values is not read: it was written for other input
    shapes. Operators of vendors, and those of `ai.onnx.ml`, are run once, in onnxruntime, to see
    what they return. Those that cannot be imported return what is noted of them; where that is
    nothing, they are taken to return what is like their first operand.
    """
    graph = draft.graph
    types = draft.types()
    made = {name for node in graph.node for name in node.output}
    for output in graph.output:
        if output.name not in made:
            output.type.CopyFrom(types[output.name])  # an input, or a constant
        elif output.type.HasField("tensor_type"):
            output.type.tensor_type.ClearField("shape")
    opaque = [node for node in graph.node if _opaque(node)]
    seen: dict[str, TypeProto] = {}
    while True:
        del graph.value_info[:]
        graph.value_info.extend(helper.make_value_info(*item) for item in seen.items())
        inferred = shape_inference.infer_shapes(with_stand_ins(draft.model), data_prop=True).graph
        for field, found in (
            (graph.value_info, inferred.value_info),
            (graph.output, inferred.output),
        ):
            del field[:]
            field.extend(found)
        types = draft.types()
        news = {k: v for node in opaque for k, v in _observe(draft, node, types).items()}
        if not news:
            return
        seen |= news
        for output in graph.output:
            if output.name in news:
                output.type.CopyFrom(news[output.name])


def _opaque(node: NodeProto) -> bool:
    """Whether onnx tells nothing of the types of a node's results, or not all."""
    return node.domain != "" and not is_fake_quantizer(node)


def _observe(draft: Draft, node: NodeProto, types: Mapping[str, TypeProto]) -> dict[str, TypeProto]:
    """Result types of one node, seen by running it on zeros; empty where nothing new is found."""
    if is_typed(node.output, types) or not is_typed(node.input, types):
        return {}
    if refused := draft.refused.get(node.name):
        first = types.get(node.input[0], TypeProto()) if node.input else TypeProto()
        known = zip(node.output, refused.types, strict=False)
        guesses = ((name, first if shape_of(t) is None else t) for name, t in known if name)
        return {name: type for name, type in guesses if shape_of(type) is not None}
    names = [name for name in node.output if name]
    try:
        arrays = run_nodes(draft, [node], names, types)
    except ModelError:
        return {}
    return {
        name: helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for name, a in zip(names, arrays, strict=True)
    }


def require_static(draft: Draft) -> None:
    """Raise F003 for the nodes where shapes get lost: all inputs are known and a result is not."""
    types = draft.types()
    lost, nodes = [], []
    for node in draft.graph.node:
        unknown = [o for o in node.output if not is_typed([o], types)]
        if unknown and is_typed(node.input, types):
            nodes.append(node.name)
            lost += [f"{node.op_type} {node.name}: {o} is {text_of(types.get(o))}" for o in unknown]
    if nodes:
        raise ModelError(
            "F003",
            "result shapes depend on data, or do not follow from the input shapes",
            nodes=nodes,
            lines=[*lost, *_complaint(draft)],
            help=_shapes_help(draft),
        )


def _complaint(draft: Draft) -> list[str]:
    """What onnx's own shape inference says when it is strict."""
    try:
        shape_inference.infer_shapes(with_stand_ins(draft.model), strict_mode=True, data_prop=True)
    except Exception as error:  # plain and private exception types
        return [str(error).strip().splitlines()[-1]]
    return []
