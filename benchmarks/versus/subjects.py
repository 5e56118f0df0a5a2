"""What both sides are measured on: models with training and test data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx

from lutra.experiment.metrics import classes
from lutra.frontends.onnx import import_model
from lutra.ir.program import Program
from lutra.ir.types import Array

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (ROOT / "examples" / "models", ROOT / "benchmarks" / "models")

CALIBRATION = 0.6
"""Share of the training set to calibrate with; Lutra's settings are chosen on the rest."""


@dataclass(frozen=True)
class Samples:
    """Inputs (samples, ...) and the class of each."""

    x: Array
    y: Array

    def accuracy(self, outputs: Array) -> float:
        """Share of samples whose class is right."""
        return float(np.mean(classes(outputs) == self.y))


@dataclass(frozen=True)
class Subject:
    """A model with its data: `x_train`, `y_train`, `x_test`, `y_test` in the .npz beside it."""

    model: Path

    @property
    def name(self) -> str:
        return self.model.stem

    @property
    def data(self) -> Path:
        return self.model.with_suffix(".npz")

    @cached_property
    def brings(self) -> bool:
        """Whether the model brings its own quantization."""
        nodes = onnx.load(self.model).graph.node
        return any("Quant" in node.op_type for node in nodes)

    @cached_property
    def test(self) -> Samples:
        with np.load(self.data) as data:
            return Samples(data["x_test"], data["y_test"])

    @cached_property
    def train(self) -> Samples:
        with np.load(self.data) as data:
            return Samples(data["x_train"], data["y_train"])

    @cached_property
    def split(self) -> tuple[Samples, Samples]:
        """The training set, shuffled: for calibration, and to choose settings with."""
        order = np.random.default_rng(0).permutation(len(self.train.x))
        first, rest = np.split(order, [round(CALIBRATION * len(order))])
        x, y = self.train.x, self.train.y
        return Samples(x[first], y[first]), Samples(x[rest], y[rest])

    def accuracy(self, samples: Samples) -> float:
        """Of the model as it stands, in floats or with the quantization that it brings."""
        module = import_model(self.model)
        entry = module.main.inputs[0]
        (y,) = Program(module).run({entry.name: samples.x.reshape(-1, *entry.type.shape)})
        return samples.accuracy(y.reshape(len(samples.x), -1))

    @cached_property
    def float_accuracy(self) -> float:
        """Of the model as it stands on the test set."""
        return self.accuracy(self.test)


def subjects(folders: Iterable[Path] = FOLDERS) -> Iterator[Subject]:
    """The models of folders that have data beside them."""
    for folder in folders:
        for model in sorted(folder.glob("*.onnx")):
            if model.with_suffix(".npz").exists():
                yield Subject(model)
