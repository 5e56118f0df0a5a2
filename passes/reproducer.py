"""A folder with all that is needed to see a failure again."""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from lutra.ir.core import Module
from lutra.ir.errors import Error
from lutra.ir.text import text_of_module
from lutra.ir.types import Array
from lutra.passes.base import Context, Pass
from lutra.passes.instruments import Instrument
from lutra.passes.pipeline import spell

PACKAGES = ("lutra", "numpy", "onnx", "onnxruntime", "concrete-python")
INLINE = 32
"""Arrays with more elements go to `constants.npz`."""


@dataclass
class Reproducer(Instrument):
    """On failure, writes the module as it was before the failing pass, and how to run that again.

    module.lutra-ir, constants.npz   the module's text and its large arrays
    samples.npz                      the calibration samples, if there were any
    error.txt                        the error
    versions.json                    Python and packages
    command.txt                      the command that replays the failure
    """

    directory: Path
    _before: Module | None = None
    _samples: dict[str, Array] = field(default_factory=dict)

    def before(self, item: Pass, module: Module, context: Context) -> None:
        self._before = module.clone()
        self._samples = dict(context.samples or {})

    def failed(self, item: Pass, module: Module, error: Error) -> None:
        if self._before is None:
            return
        folder = Path(self.directory)
        folder.mkdir(parents=True, exist_ok=True)
        constants: dict[str, Array] = {}
        text = text_of_module(self._before, limit=INLINE, constants=constants)
        (folder / "module.lutra-ir").write_text(text)
        np.savez(folder / "constants.npz", **constants)
        command = f"lutra opt module.lutra-ir --constants constants.npz --pipeline '{spell(item)}'"
        if self._samples:
            np.savez(folder / "samples.npz", **self._samples)
            command += " --calibration samples.npz"
        (folder / "command.txt").write_text(command + "\n")
        (folder / "error.txt").write_text(error.render() + "\n")
        (folder / "versions.json").write_text(json.dumps(_versions(), indent=2) + "\n")


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
