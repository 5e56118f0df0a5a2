"""Bars: what accuracy must be reached with how many bits, and models whose integers are known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results import FOLDER, results_for
from lutra.experiment import run_experiment
from lutra.experiment.rows import Row
from lutra.experiment.spec import Experiment, load
from lutra.frontends.onnx import import_model
from lutra.ir.types import Array

FILE = Path(__file__).with_suffix(".toml")
INPUT_BITS = 6
"""Bits of the random inputs of models that come without data."""


@dataclass(frozen=True)
class Bar:
    """What a model must reach.

    pipeline: its name in `bars.toml`. points: that may be lost against the float model, in percent;
    least: accuracy to be reached, instead. bits: that look-ups may read at most.
    """

    model: str
    pipeline: str
    bits: int
    points: float | None = None
    least: float = 0.0

    def wanted(self, row: Row) -> float:
        """The accuracy that it takes."""
        if self.points is None:
            return self.least
        return float(row["float_accuracy"]) - self.points / 100

    def met(self, row: Row) -> bool:
        if "error" in row:
            return False
        enough = float(row["accuracy"]) >= self.wanted(row) - 1e-9
        return enough and float(row["lookup_bits"]) <= self.bits


BARS = (
    Bar("checker_30", "narrow-9", 9, least=0.75),
    Bar("checker_100", "narrow-9", 9, least=0.88),
    Bar("checker_30", "wide-7", 7, points=2),
    Bar("checker_100", "wide-7", 7, points=1),
    Bar("checker_100", "wide-6", 6, points=2),
    Bar("digits_cnn", "digits-5", 5, points=1),
    Bar("digits_cnn", "digits-4", 4, points=1),
    Bar("digits_cnn", "digits-3", 3, points=3),
    Bar("digits_cnn", "digits-2-3", 16, least=0.93),
    Bar("iris_fc", "iris-4", 4, points=0),
)
TRAINED = ("qat_*", "TFC_2W2A", "qkeras_jettagging")
"""Files of models that bring their quantization, by patterns of their names."""


def bars(executor: Executor | None = None, jobs: int | None = None) -> Iterator[tuple[Bar, Row]]:
    """Every bar, and the row of the trial that it is about."""
    experiment = load(FILE)
    rows = run_experiment(experiment, results_for(experiment), executor=executor, jobs=jobs)
    by_name = {(row["model"], row["pipeline"]): row for row in rows}
    for bar in BARS:
        yield bar, by_name[bar.model, bar.pipeline]


def trained(folders: Sequence[Path], changes: Mapping[str, Any]) -> Experiment | None:
    """The models in folders that bring their quantization; None where there are none.

    Data are those of the file of the same name, up to its first dot, or random inputs. changes: of
    `trained.toml`.
    """
    models = {}
    for path in sorted(path for folder in folders for path in folder.glob("*.onnx")):
        if any(path.match(f"{name}*.onnx") for name in TRAINED) and ".peer." not in path.name:
            data = _data(path)
            with np.load(data) as arrays:
                calibration = "x_train" if "x_train" in arrays else "x_test"
            given = {"path": str(path.absolute()), "data": str(data), "samples": 1000}
            given["calibration"] = calibration
            models[path.name.removesuffix(".onnx")] = given
    return load(FILE.with_name("trained.toml"), {**changes, "models": models}) if models else None


AS_TRAINED = {
    "grid": {"r": ["none"]},
    "metrics": {name: {} for name in ("equal", "agreement", "pbs", "lookup_bits")},
}
"""Changes of `trained.toml` for models whose integers shall be their own."""


def _data(path: Path) -> Path:
    data = path.with_name(path.name.split(".")[0] + ".npz").absolute()
    if data.exists():
        return data
    FOLDER.mkdir(exist_ok=True)
    made = FOLDER / f"{path.stem}.npz"
    np.savez(made, x_train=_inputs(path), x_test=_inputs(path))
    return made


def _inputs(path: Path) -> Array:
    """Random inputs (samples, *shape) of a model's only input, multiples of a power of two."""
    shape = import_model(path).main.inputs[0].type.shape
    top = 2 ** (INPUT_BITS - 1)
    steps = np.random.default_rng(0).integers(-top, top, (64, *shape))
    return np.asarray(2 * steps / top, np.float32)


def lines(found: Iterable[tuple[Bar, Row]]) -> Iterator[str]:
    """A Markdown table: one row for each bar."""
    yield "| model | pipeline | look-ups, bits | of at most | accuracy | of at least | |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | --- |"
    for bar, row in found:
        if "error" in row:
            cells = ["", str(bar.bits), "", "", f"{row['error']}: {row['message']}"]
        else:
            cells = [str(row["lookup_bits"]), str(bar.bits)]
            cells += [f"{float(row['accuracy']):.3f}", f"{bar.wanted(row):.3f}"]
            cells.append("met" if bar.met(row) else "MISSED")
        yield "| " + " | ".join([bar.model, f"`{row['text']}`", *cells]) + " |"
