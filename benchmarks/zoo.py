"""Whether models compile, what they cost, and whether the integers are the model's own.

    python -m benchmarks.zoo FOLDER --samples 8

Every ONNX file of a folder is compiled: by `qat` if it brings its own quantization, else by
`default`. Inputs come from the `.npz` beside it (`x_test`, `y_test`), else they are random
multiples of a power of two. `own` is the share of output numbers that equal those of the imported
model, which onnxruntime computes; `error` is the root of the mean square of what they are off by,
over that of the model's own; `class` is the share of samples with the same largest output.
Look-ups of more than 16 bits are counted, but no backend takes them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from time import perf_counter

import numpy as np

from lutra.experiment.metrics import classes
from lutra.frontends.onnx import import_model
from lutra.ir.analysis import look_ups, pbs_count
from lutra.ir.core import Module
from lutra.ir.errors import Error
from lutra.ir.program import Program
from lutra.ir.types import Array
from lutra.passes import Context, Pipeline
from lutra.tuning.api import brings_quantization

LOOKUP_BITS = 24
"""Wider than backends take, to see how wide look-ups are."""
HEAD = (
    f"{'file':42}{'pipeline':26}{'PBS':>9}{'bits':>6}"
    f"{'own':>8}{'error':>9}{'class':>8}{'right':>8}{'s':>7}"
)


def pipeline_for(module: Module, bits: int) -> str:
    """`qat` for a model that quantizes something itself."""
    name = "qat" if brings_quantization(module) else "default"
    return f"{name}{{inputs={bits}}}"


def inputs_for(path: Path, module: Module, samples: int, bits: int) -> tuple[Array, Array | None]:
    """Inputs (samples, *shape) of a model's only input, and labels if there are any."""
    shape = module.main.inputs[0].type.shape
    data = path.with_name(path.name.split(".")[0] + ".npz")
    if data.exists():
        with np.load(data) as arrays:
            x, labels = arrays["x_test"][:samples], arrays["y_test"][:samples]
        return x.reshape(len(x), *shape).astype(np.float32), labels
    steps = np.random.default_rng(0).integers(
        -(2 ** (bits - 1)), 2 ** (bits - 1), (samples, *shape)
    )
    return np.asarray(steps / 2 ** (bits - 2), np.float32), None


def row(path: Path, samples: int, bits: int, pipeline: str | None) -> str:
    """One line of the table, or the error."""
    start = perf_counter()
    try:
        module = import_model(path)
        x, labels = inputs_for(path, module, samples, bits)
        text = pipeline or pipeline_for(module, bits)
        feeds = {module.main.inputs[0].name: x}
        own = Program(module.clone()).run(feeds)[0]
        Pipeline.parse(text).execute(module, Context(feeds, lookup_bits=LOOKUP_BITS))
        found = Program(module).run(feeds)[0]
    except Error as error:
        return f"{path.name:42}{error}".splitlines()[0]
    widths = [site.bits for site in look_ups(module.circuit)]
    equal = np.isclose(found, own, rtol=1e-4, atol=1e-5 * np.abs(own).max()).mean()
    off, size = (np.sqrt(np.square(y, dtype=np.float64).mean()) for y in (found - own, own))
    chosen, wanted = (classes(y.reshape(len(y), -1)) for y in (found, own))
    right = "" if labels is None else f"{np.mean(chosen == labels):.3f}"
    return (
        f"{path.name:42}{text:26}{pbs_count(module.circuit):9}{max(widths, default=0):6}"
        f"{equal:8.4f}{off / (size or 1):9.1e}{np.mean(chosen == wanted):8.3f}{right:>8}"
        f"{perf_counter() - start:7.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("folder", type=Path)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--bits", type=int, default=6, help="of inputs that a model leaves open")
    parser.add_argument("--pipeline", help="instead of `qat` or `default`")
    options = parser.parse_args()
    print(HEAD)
    for path in sorted(options.folder.glob("*.onnx")):
        print(row(path, options.samples, options.bits, options.pipeline), flush=True)


if __name__ == "__main__":
    main()
