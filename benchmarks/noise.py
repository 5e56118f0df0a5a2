"""The simulator's look-up errors against real ones, on small circuits really encrypted.

    python -m benchmarks.noise               look-ups behind approximate rounding, by distance
    python -m benchmarks.noise iris_fc -n 40 a model's outputs: how far from the clear ones

Real errors may be rarer than simulated ones: parameters are found in steps, and not every look-up
has all the noise that `p_error` allows.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import lutra
from lutra.backends import concrete
from lutra.backends import numpy as clear
from lutra.ir import ops
from lutra.ir.core import Graph
from lutra.ir.rewriter import Rewriter
from lutra.ir.types import Array, Int

MODELS = Path(__file__).parent.parent / "examples" / "models"
P_ERRORS = (1e-2, 1e-5)
LSBS = 3
BITS = 4
WIDTH = 256
PIPELINE = "default{weights=4,rounding=4}"


def rounded() -> Graph:
    """Look-ups of BITS bits behind approximate rounding by LSBS bits."""
    graph = Graph()
    rewriter = Rewriter(graph)
    top = ((1 << BITS) - 1) << LSBS
    x = rewriter.input("x", Int.of((1, WIDTH), 0, top))
    short = ops.Round(x, LSBS, False).result
    rewriter.returns([ops.Lookup(short, 0, np.arange(1 << BITS)).result])
    return graph


def by_distance(samples: int) -> Table:
    """How many look-ups err, by the distance of their input from the next boundary."""
    table = Table("p_error", "distance", "look-ups", "real", "simulated")
    graph, rng = rounded(), np.random.default_rng(0)
    x = rng.integers(0, graph.inputs[0].result.int_type.max + 1, (samples, 1, WIDTH))
    distance = 0.5 * (1 << LSBS) - np.abs((x + (1 << (LSBS - 1))) % (1 << LSBS) - 3.5)
    for p_error in P_ERRORS:
        executable = concrete.emit(graph, p_error=p_error)
        executable.keygen()
        (y,) = executable.run(x)
        z = np.concatenate(
            [clear.emit(graph, p_error=p_error, seed=seed).run(x)[0] for seed in range(100)]
        )
        meant = (x + (1 << (LSBS - 1))) >> LSBS
        for d in np.unique(distance):
            at = distance == d
            real, drawn = (y != meant)[at], (z != np.tile(meant, (100, 1, 1)))
            cells = f"{p_error:g}", f"{d / (1 << LSBS):.3f}", str(int(at.sum()))
            drawn_rate = drawn[np.tile(at, (100, 1, 1))].mean()
            table.add_row(*cells, f"{real.mean():.4f}", f"{drawn_rate:.4f}")
    return table


def outputs(name: str, samples: int, pipeline: str) -> Table:
    """How far a model's encrypted and simulated outputs are from the clear ones."""
    table = Table("p_error", "outputs", "rms", "equal", "same class")
    with np.load(MODELS / f"{name}.npz") as data:
        train, x = data["x_train"][:-samples], data["x_train"][-samples:]
    for p_error in P_ERRORS:
        model = lutra.compile(MODELS / f"{name}.onnx", train, pipeline, p_error=p_error)
        meant = np.asarray(model.predict(x))
        drawn = [np.asarray(model.predict(x, "simulate", seed=seed)) for seed in range(50)]
        for label, found in (
            ("real", np.asarray(model.predict(x, "encrypt"))[None]),
            ("simulated", np.stack(drawn)),
        ):
            table.add_row(f"{p_error:g}", label, *_compared(found, meant))
    return table


def _compared(found: Array, meant: Array) -> tuple[str, str, str]:
    rms = np.sqrt(np.square(found - meant).mean())
    same = (found.argmax(-1) == meant.argmax(-1)).mean()
    return f"{rms:.3f}", f"{(found == meant).mean():.3f}", f"{same:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.noise", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("model", nargs="?", help="one of the example models")
    parser.add_argument("-n", "--samples", type=int, default=8)
    parser.add_argument("--pipeline", default=PIPELINE)
    given = parser.parse_args()
    if given.model is None:
        Console().print(by_distance(given.samples))
    else:
        Console().print(outputs(given.model, given.samples, given.pipeline))


if __name__ == "__main__":
    main()
