"""The IR: its operations, and one module at its three levels."""

from __future__ import annotations

import dataclasses
import typing

import numpy as np
import onnx.parser

from generator.markdown import fenced, prose
from lutra.frontends.onnx import import_model
from lutra.ir import core, ops, parser
from lutra.ir.text import Printer
from lutra.passes import Context, Pipeline

LEVELS = {
    "Every level": ("lutra.ir.core",),
    "Float level": ("lutra.ir.ops.onnx",),
    "Quantized level": ("lutra.ir.ops.quantized",),
    "Integer level: linear, without bootstrap": ("lutra.ir.ops.linear",),
    "Integer level: movement of elements, without bootstrap": ("lutra.ir.ops.movement",),
    "Integer level: table look-ups and what is built of them": (
        "lutra.ir.ops.tables",
        "lutra.ir.ops.products",
    ),
}


def operations() -> str:
    """All operations, by level."""
    assert ops.__all__  # importing them is what declares them
    sections = []
    for title, modules in LEVELS.items():
        found = [cls for cls in core.OPS.values() if cls.__module__ in modules]
        sections += [f"### {title}", *map(_operation, found)]
    return "\n\n".join(sections)


def _operation(cls: type[core.Op]) -> str:
    declared: typing.Any = cls
    fields = {field.name: field for field in dataclasses.fields(declared)}
    lines = [
        f"- {kind}: " + "; ".join(_field(fields[name]) for name in names)
        for kind, names in (("reads", cls.operand_fields), ("attributes", cls.attribute_fields))
        if names
    ]
    return "\n\n".join([f"#### `{cls.opname}`", prose(cls), "\n".join(lines)])


def _field(field: dataclasses.Field[typing.Any]) -> str:
    text = f"`{field.name}`, {_typed(str(field.type))}"
    if field.default is dataclasses.MISSING:
        return text
    return f"{text}, `{Printer().attribute(field.default)}` if left out"


def _typed(annotation: str) -> str:
    """An annotation of an operation's field, in words."""
    words = {
        "Value": "one value",
        "tuple[Value, ...]": "any number of values",
        "tuple[Value | None, ...]": "any number of values, `none` where one is absent",
        "Array": "array",
        "Ints": "array of integers",
        "Shape": "list of integers",
        "tuple[int, ...]": "list of integers",
        "tuple[str, ...]": "list of strings",
        "int": "integer",
        "float": "number",
        "bool": "`true` or `false`",
        "str": "string",
        "Type": "type",
        "tuple[Tensor, ...]": "types",
        "Mapping[str, Any]": "ONNX attributes by name",
    }
    return words.get(annotation, f"`{annotation}`")


MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
mlp (float[N, 2] x) => (float[N, 2] y)
<float[2,2] w1 = {3, -2, 1, -4}, float[2] b = {1, 1}, float[2,2] w2 = {2, -2, -1, 1}>
{
  [fc1] h = Gemm (x, w1, b)
  [relu] a = Relu (h)
  [fc2] y = MatMul (a, w2)
}
"""


def level(pipeline: str) -> str:
    """A small model after a pipeline."""
    module = import_model(onnx.parser.parse_model(MODEL))
    corners = np.array([[[-1, -1]], [[-1, 1]], [[1, -1]], [[1, 1]]], np.float32)
    if pipeline:
        Pipeline.parse(pipeline).execute(module, Context(samples={"x": corners}))
    return fenced(str(module).strip())


QUANTIZED = "clean,calibrate,quantize{weights=4,activations=3,inputs=4}"
INTEGER = f"{QUANTIZED},lower-quantized,round{{bits=4}},fuse,clean,partition"


def too_wide() -> None:
    level(f"{QUANTIZED.replace('=4', '=8')},lower-quantized,fuse,partition")


def bad_text() -> None:
    parser.parse_module("%x = input : u4[1x2] in [0, 15]\n%0 = matmull %x, w=[[3], [1]]\n")
