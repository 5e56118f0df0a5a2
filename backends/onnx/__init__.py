"""Graphs as ONNX models: circuits that onnxruntime runs, and what clients compute in the clear."""

from __future__ import annotations

from lutra.backends.base import Limits
from lutra.backends.onnx.batch import client_model
from lutra.backends.onnx.emission import model_of
from lutra.backends.onnx.executable import OnnxExecutable
from lutra.backends.onnx.forms import FORMS
from lutra.backends.onnx.quantized import quantized_model
from lutra.ir.core import Graph

__all__ = [
    "FORMS",
    "OnnxExecutable",
    "client_model",
    "emit",
    "limits",
    "model_of",
    "name",
    "quantized_model",
]

name = "onnx"
limits = Limits()


def emit(circuit: Graph) -> OnnxExecutable:
    """The executable of an integer circuit: an ONNX model in int64, bit-equal to the interpreter.

    Error B002 where an operation has no ONNX form.
    """
    return OnnxExecutable(circuit)
