"""ONNX models -> the IR."""

from lutra.frontends.onnx.importer import import_model
from lutra.frontends.onnx.load import load
from lutra.frontends.onnx.normalise import normalise

__all__ = ["import_model", "load", "normalise"]
