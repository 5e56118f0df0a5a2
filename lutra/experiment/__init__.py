"""Experiments: models x pipelines, measured, resumable, one row for each trial."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lutra.experiment.metrics import Compiled
    from lutra.experiment.run import run_experiment
    from lutra.experiment.spec import Experiment, load

__all__ = ["Compiled", "Experiment", "load", "run_experiment"]

_HOME = {"Compiled": "metrics", "Experiment": "spec", "load": "spec", "run_experiment": "run"}


def __getattr__(name: str) -> Any:  # so that the command line starts without importing onnx
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
