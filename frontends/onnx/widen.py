"""Operators on types for which onnxruntime or opset `OPSET` lacks them, on wider types."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from onnx import NodeProto, TensorProto, TypeProto, helper
from onnx.defs import OpSchema

from lutra.frontends.onnx.draft import Draft
from lutra.frontends.onnx.proto import element_type_of, schema_of, unused
from lutra.ir.traits import TRAITS, Trait

FLOATS: dict[int, int] = {
    TensorProto.BFLOAT16: TensorProto.FLOAT,
    TensorProto.FLOAT16: TensorProto.FLOAT,
}

WIDER: dict[int, int] = {
    **FLOATS,
    TensorProto.INT8: TensorProto.INT32,
    TensorProto.INT16: TensorProto.INT32,
    TensorProto.UINT8: TensorProto.UINT32,
    TensorProto.UINT16: TensorProto.UINT32,
    TensorProto.UINT32: TensorProto.INT64,
    TensorProto.UINT64: TensorProto.INT64,
}
"""What is tried for each type. Integer results are cast back, which keeps their lowest bits."""

CONVERSIONS = ("BitCast", "Cast", "CastLike", "DequantizeLinear", "QuantizeLinear")
"""Operators that are about types, and stay."""


def widen(draft: Draft, refused: Collection[str] = ()) -> bool:
    """f(x, y) -> Cast(f(Cast(x), Cast(y))) for the nodes of these names, and all on bfloat16.

    Floats stay wide between two such nodes: what the model computes in bfloat16, which has 8 bits,
    is computed in float32 and rounded where others read it.
    """
    types = draft.types()
    widening = _Widening(types, draft.names())
    nodes: list[NodeProto] = []
    changed = False
    for node in draft.graph.node:
        schema = schema_of(node, draft.version) if _may_widen(node) else None
        narrow = schema is not None and (node.name in refused or _is_brief(node, types))
        new = list(widening.widened(node, schema)) if schema and narrow else [node]
        changed |= len(new) > 1
        nodes.extend(new)
    draft.set_nodes(nodes)
    return changed


class _Widening:
    def __init__(self, types: Mapping[str, TypeProto], taken: set[str]) -> None:
        self.types = types
        self.taken = taken
        self.wide: dict[str, str] = {}
        """Of values that have been cast their wide twins."""

    def widened(self, node: NodeProto, schema: OpSchema) -> Iterator[NodeProto]:
        twin = NodeProto()
        twin.CopyFrom(node)
        variables = set[str]()
        for index, name in enumerate(node.input):
            variable = _variable(schema, schema.inputs, index)
            if not variable or not self._fits(node, name):
                continue
            variables.add(variable)
            if name not in self.wide:
                self.wide[name] = self._unused(name)
                to = WIDER[element_type_of(self.types.get(name))]
                yield helper.make_node("Cast", [name], [self.wide[name]], to=to)
            twin.input[index] = self.wide[name]
        casts = []
        for index, name in enumerate(node.output):
            kind = element_type_of(self.types.get(name))
            if kind in WIDER and _variable(schema, schema.outputs, index) in variables:
                twin.output[index] = self._unused(name)
                casts.append(helper.make_node("Cast", [twin.output[index]], [name], to=kind))
                if kind in FLOATS:
                    self.wide[name] = twin.output[index]
        yield twin
        yield from casts

    def _fits(self, node: NodeProto, name: str) -> bool:
        """Whether the wider type holds every value, or at least the lowest bits that count."""
        kind = element_type_of(self.types.get(name))
        wraps = TRAITS.get(node.op_type) is Trait.ELEMENTWISE
        return kind in WIDER and (wraps or kind != TensorProto.UINT64)

    def _unused(self, name: str) -> str:
        return unused(f"{name}/wide", self.taken)


def _may_widen(node: NodeProto) -> bool:
    return not node.domain and node.op_type not in CONVERSIONS


def _is_brief(node: NodeProto, types: Mapping[str, TypeProto]) -> bool:
    return any(element_type_of(types.get(name)) == TensorProto.BFLOAT16 for name in node.input)


def _variable(schema: OpSchema, declared: Collection[OpSchema.FormalParameter], index: int) -> str:
    """The type variable of an operand or result, empty where its type is fixed."""
    if not declared:
        return ""
    text = list(declared)[min(index, len(declared) - 1)].type_str
    return text if any(c.type_param_str == text for c in schema.type_constraints) else ""
