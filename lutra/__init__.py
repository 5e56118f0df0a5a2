"""Compile ONNX models into circuits that run on encrypted data.

import lutra
model = lutra.compile("model.onnx", calibration=x_train)
print(model.report())
y = model.predict(x, mode="encrypt")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lutra.ir.errors import Error

if TYPE_CHECKING:
    from lutra.artifact import load
    from lutra.client import Client
    from lutra.compiler import compile
    from lutra.model import Model
    from lutra.pricing import Price, price
    from lutra.quantizing import quantize
    from lutra.report import Report
    from lutra.sensitivity import Sensitivity, analyze
    from lutra.server import Server
    from lutra.serving.remote import Remote
    from lutra.tuning.api import tune
    from lutra.tuning.result import Tuning

    __version__: str

__all__ = [
    "Client",
    "Error",
    "Model",
    "Price",
    "Remote",
    "Report",
    "Sensitivity",
    "Server",
    "Tuning",
    "analyze",
    "compile",
    "load",
    "price",
    "quantize",
    "tune",
]

_HOME = {
    "Client": "lutra.client",
    "Model": "lutra.model",
    "Price": "lutra.pricing",
    "Report": "lutra.report",
    "Sensitivity": "lutra.sensitivity",
    "Remote": "lutra.serving.remote",
    "Server": "lutra.server",
    "analyze": "lutra.sensitivity",
    "compile": "lutra.compiler",
    "load": "lutra.artifact",
    "price": "lutra.pricing",
    "quantize": "lutra.quantizing",
    "tune": "lutra.tuning.api",
    "Tuning": "lutra.tuning.result",
}
"""Where the public names live; their modules are imported on first use."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("lutra")
    if name not in _HOME:
        raise AttributeError(f"module 'lutra' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, "__version__"})
