"""Where Concrete ML keeps `NumpyModule`."""

from __future__ import annotations

from lutra.quantization.numpy_module import NumpyModule

__all__ = ["NumpyModule"]
