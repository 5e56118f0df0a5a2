"""concrete-python, of which only the native compiler is used: no tracing frontend, no torch."""

from __future__ import annotations

import importlib
import warnings
from typing import Any


def concrete_compiler() -> Any:
    """The module `concrete.compiler`, imported without its warnings about setuptools' future."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(?s).*pkg_resources")
        return importlib.import_module("concrete.compiler")
