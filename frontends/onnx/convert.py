"""Bring a model to the one opset that Lutra works at, and its local functions into the graph."""

from __future__ import annotations

import onnx
from onnx import ModelProto, TensorProto, checker, inliner, version_converter

from lutra.frontends.onnx.domains import complete_imports
from lutra.frontends.onnx.draft import Draft
from lutra.frontends.onnx.patches import hide, reveal
from lutra.frontends.onnx.shapes import infer
from lutra.ir.errors import ModelError
from lutra.ir.ort import IR_VERSION, OPSET

OLDEST = 7
"""Before it, operators broadcast by rules of their own, which the converter gets wrong (PRelu)."""


def check(draft: Draft) -> None:
    """Raise F001 where the model breaks ONNX's rules, F002 where its opset is out of range."""
    draft.model.ir_version = IR_VERSION
    complete_imports(draft.model)
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST <= draft.version <= newest:
        raise ModelError(
            "F002",
            f"the model's opset is {draft.version}; {OLDEST} to {newest} can be read",
            help=f"export the model with an opset in that range, best with {OPSET}",
        )
    try:
        checker.check_model(_with_types(draft.model))
    except Exception as error:  # ValidationError has no public base, others are RuntimeErrors
        raise ModelError("F001", f"the model is not valid ONNX: {error}") from error


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
