"""Really encrypted runs of the example models, and whether they agree with the clear integers.

    python -m benchmarks.encrypted digits_cnn --samples 3 --pipeline "default{rounding=4}"

Results are equal bit for bit where nothing is rounded approximately and no look-up fails; else the
classes should agree. Trials are those of the experiment `encrypted.toml`: what has run already is
read from its results, unless the software or an option has changed since.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.results import results_for
from lutra.experiment import run_experiment
from lutra.experiment.rows import Row
from lutra.experiment.show import spell
from lutra.experiment.spec import Experiment, load

FILE = Path(__file__).with_suffix(".toml")
MODELS = FILE.parents[1] / "examples" / "models"


def experiment(model: str, pipeline: str | None, samples: int, p_error: float | None) -> Experiment:
    """One model of `encrypted.toml`; by its pipelines, unless another is asked for."""
    emission: dict[str, Any] = {} if p_error is None else {"p_error": p_error}
    runs = {"samples": samples, **emission}
    changes: dict[str, Any] = {
        "models": [str(MODELS / f"{model}.onnx")],
        "metrics": {
            "compile": {"metric": "seconds"},
            "pbs": {},
            "price": emission,
            "emission": {"metric": "emission_seconds", **runs},
            "keygen": {"metric": "keygen_seconds", **runs},
            "per_sample": {"metric": "encrypted_seconds", **runs},
            "equal": {"metric": "encrypted_equal", **runs},
            "same_class": {"metric": "encrypted_agreement", **runs},
            "clear_right": {"metric": "accuracy"},
        },
    }
    return load(FILE, changes | ({} if pipeline is None else {"pipelines": {"asked": pipeline}}))


def report(row: Row) -> str:
    """A row's measurements, one a line, or its error."""
    shown = {name: value for name, value in row.items() if name not in ("key", "versions")}
    return "\n".join(f"{name:14}{spell(value)}" for name, value in shown.items())


def main() -> None:
    names = sorted(path.stem for path in MODELS.glob("*.onnx"))
    parser = argparse.ArgumentParser(prog="python -m benchmarks.encrypted", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("model", choices=names)
    parser.add_argument("--samples", type=int, default=3)
    parser.add_argument("--pipeline", help="instead of those of encrypted.toml")
    parser.add_argument("--p-error", type=float)
    parser.add_argument("--output", "-o", type=Path, help="results, .csv or .parquet")
    parser.add_argument("--json", action="store_true", help="print one JSON object a trial")
    options = parser.parse_args()
    chosen = experiment(options.model, options.pipeline, options.samples, options.p_error)
    for row in run_experiment(chosen, options.output or results_for(chosen)):
        print(json.dumps(row) if options.json else report(row) + "\n", flush=True)


if __name__ == "__main__":
    main()
