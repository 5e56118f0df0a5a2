"""concrete-python, of which only the native compiler is used: no tracing frontend, no torch."""

from __future__ import annotations

import atexit
import importlib
import warnings
from functools import cache
from typing import Any

from lutra.backends.concrete.signals import signals_kept


@cache
def concrete_compiler() -> Any:
    """The module `concrete.compiler`, imported without its warnings about setuptools' future.

    Its exit handler, which shuts down a dataflow runtime that Lutra does not use, ends the process
    with exit code 0 whatever the program's own was: it is taken out.
    """
    with signals_kept(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(?s).*pkg_resources")
        compiler = importlib.import_module("concrete.compiler")
    atexit.unregister(compiler._terminate_df_parallelization)
    return compiler
