"""From ONNX models to quantized modules, under the name that users of Concrete ML know."""

from __future__ import annotations

from lutra.torch.compile import compile_onnx_model

__all__ = ["compile_onnx_model"]
