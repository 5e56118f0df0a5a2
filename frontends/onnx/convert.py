"""Bring a model to the one opset that Lutra works at, and its local functions into the graph."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import ModelProto, TensorProto, checker, inliner, numpy_helper, version_converter

from lutra.frontends.onnx.domains import complete_imports
from lutra.frontends.onnx.draft import Draft
from lutra.frontends.onnx.patches import hide, reveal
from lutra.frontends.onnx.proto import with_inner
from lutra.frontends.onnx.shapes import infer
from lutra.ir.errors import ModelError
from lutra.ir.ort import IR_VERSION, OPSET

OLDEST = 7
"""Before it, operators broadcast by rules of their own, which the converter gets wrong (PRelu)."""


def checked(model: ModelProto) -> Draft:
    """A draft of the model: F001 where it breaks ONNX's rules, F002 for an opset out of range."""
    try:
        draft = Draft(model)
        draft.model.ir_version = IR_VERSION
        complete_imports(draft.model)
        _require_opset(draft)
        _read(draft)
        checker.check_model(_with_types(draft.model))
    except ModelError:
        raise
    except Exception as error:  # protobuf, numpy and onnx's checker each raise their own
        raise ModelError("F001", f"the model is not valid ONNX: {error}") from error
    return draft


def _require_opset(draft: Draft) -> None:
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST <= draft.version <= newest:
        raise ModelError(
            "F002",
            f"the model's opset is {draft.version}; {OLDEST} to {newest} can be read",
            help=f"export the model with an opset in that range, best with {OPSET}",
        )


def _read(draft: Draft) -> None:
    """Read what the checker does not: element types, constants' sizes, names that are no UTF-8."""
    for name in _names(draft):
        if isinstance(name, bytes):  # so protobuf hands out what is no UTF-8
            raise ValueError(f"the name {name!r} is not UTF-8")
    known = TensorProto.DataType.values()
    for value in (*draft.graph.input, *draft.graph.output):
        if value.type.tensor_type.elem_type not in known:
            raise ValueError(f"{value.name!r} has element type {value.type.tensor_type.elem_type}")
    for name, tensor in draft.constants().items():
        if numpy_helper.to_array(tensor).shape != tuple(tensor.dims):
            raise ValueError(f"{name!r} has a negative dimension")


def _names(draft: Draft) -> Iterator[str | bytes]:
    yield from draft.names()
    for node in with_inner(draft.graph.node):
        yield from (node.name, node.op_type, node.domain)
        yield from (attribute.name for attribute in node.attribute)


def _with_types(model: ModelProto) -> ModelProto:
    """A copy with some type wherever an input or output has none: exporters leave them out."""
    twin = ModelProto()
    twin.CopyFrom(model)
    for value in (*twin.graph.input, *twin.graph.output):
        if value.type.WhichOneof("value") in (None, "tensor_type"):
            tensor = value.type.tensor_type
            tensor.elem_type = tensor.elem_type or TensorProto.FLOAT
            tensor.shape.SetInParent()
    return twin


def inline_functions(draft: Draft) -> None:
    """Replace calls of the model's own functions by their bodies."""
    if not draft.model.functions:
        return
    infer(draft)  # functions of another opset are converted, which needs types
    try:
        draft.replace(inliner.inline_local_functions(draft.model, convert_version=True))
    except Exception as error:
        raise ModelError("F001", f"the model's functions cannot be inlined: {error}") from error
    complete_imports(draft.model)


def convert(draft: Draft) -> None:
    """Convert ONNX's own operators to opset `OPSET`; other domains stay as they are."""
    if draft.version == OPSET:
        return
    hide(draft)
    try:
        draft.replace(version_converter.convert_version(draft.model, OPSET))
    except Exception as error:  # ConvertError has no public base
        raise ModelError(
            "F002",
            f"the model cannot be brought from opset {draft.version} to {OPSET}: "
            + str(error).split("` failed: ")[-1],
            help=f"export the model with opset {OPSET}",
        ) from error
    reveal(draft)
    draft.model.ir_version = IR_VERSION
