"""Really encrypted runs of the example models, and whether they agree with the clear integers.

    python -m benchmarks.encrypted digits_cnn --samples 3 --pipeline "default{rounding=4}"

Results are equal bit for bit where nothing is rounded approximately and no look-up fails; else the
classes should agree.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

import lutra
from lutra.ir.types import Array

MODELS = Path(__file__).parents[1] / "examples" / "models"
CALIBRATION = 1000
"""Samples of the training set to calibrate with."""


@dataclass(frozen=True)
class Run:
    """What one run measured; seconds are wall time.

    equal: share of output numbers that are the same encrypted and in the clear.
    same_class, right: shares of samples whose class is the clear one's, or the label.
    clear_right: share of the whole test set that is right in the clear.
    first_sample: seconds of the first sample, which also unpacks the keys.
    """

    model: str
    pipeline: str
    p_error: float
    price: float
    pbs: int
    compile: float
    emission: float
    keygen: float
    first_sample: float
    per_sample: float
    samples: int
    equal: float
    same_class: float
    right: float
    clear_right: float


def classes(y: Array) -> Array:
    """The class of each sample: the largest logit, or a probability above one half."""
    return y.argmax(axis=1) if y.shape[1] > 1 else (y[:, 0] > 0.5).astype(int)


def run(name: str, pipeline: str, samples: int, p_error: float | None) -> Run:
    """Compile a model in `examples/models` and predict the first test samples encrypted."""
    with np.load(MODELS / f"{name}.npz") as data:
        x_train, x_test, labels = (data[key] for key in ("x_train", "x_test", "y_test"))
    ends: list[float] = []
    moments = [perf_counter()]

    def watch(what: str, done: int, total: int) -> None:
        if what == "encrypted samples" and done:
            ends.append(perf_counter())

    def lap() -> float:
        moments.append(perf_counter())
        return moments[-1] - moments[-2]

    model = lutra.compile(
        MODELS / f"{name}.onnx", x_train[:CALIBRATION], pipeline, p_error=p_error, progress=watch
    )
    compiled = lap()
    statistics = model.circuit_statistics()
    emitted = lap()
    model.keygen()
    generated = lap()
    encrypted = model.predict(x_test[:samples], mode="encrypt")
    first, *rest = np.diff([moments[-1], *ends])
    clear = model.predict(x_test)
    assert isinstance(encrypted, np.ndarray)
    assert isinstance(clear, np.ndarray)
    found, expected = classes(encrypted), classes(clear)
    return Run(
        model=name,
        pipeline=model.pipeline,
        p_error=statistics["p_error"],
        price=statistics["price"],
        pbs=model.pbs_count,
        compile=compiled,
        emission=emitted,
        keygen=generated,
        first_sample=float(first),
        per_sample=float(np.mean(rest)) if rest else float(first),
        samples=len(encrypted),
        equal=float(np.mean(encrypted == clear[:samples])),
        same_class=float(np.mean(found == expected[:samples])),
        right=float(np.mean(found == labels[:samples])),
        clear_right=float(np.mean(expected == labels)),
    )


def main() -> None:
    names = sorted(path.stem for path in MODELS.glob("*.onnx"))
    parser = argparse.ArgumentParser(prog="python -m benchmarks.encrypted", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("model", choices=names)
    parser.add_argument("--samples", type=int, default=3)
    parser.add_argument("--pipeline", default="default")
    parser.add_argument("--p-error", type=float)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    result = asdict(run(options.model, options.pipeline, options.samples, options.p_error))
    if options.json:
        print(json.dumps(result))
        return
    for key, value in result.items():
        print(f"{key:14}{value:.4g}" if isinstance(value, float) else f"{key:14}{value}")


if __name__ == "__main__":
    main()
