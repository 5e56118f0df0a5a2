"""From PyTorch to quantized modules, under the names that users of Concrete ML know.

Importing this package does not import PyTorch; exporting a model does.
"""

from __future__ import annotations

from lutra.quantization.numpy_module import NumpyModule
from lutra.torch.compile import (
    build_quantized_module,
    compile_brevitas_qat_model,
    compile_onnx_model,
    compile_torch_model,
)

__all__ = [
    "NumpyModule",
    "build_quantized_module",
    "compile_brevitas_qat_model",
    "compile_onnx_model",
    "compile_torch_model",
]
