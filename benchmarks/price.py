"""How well the predicted price agrees with Concrete's optimizer, and the table it needs of it.

python -m benchmarks.price              on the circuits of the example models and on a grid
python -m benchmarks.price --calibrate  measure the table of large look-ups anew (minutes)
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import lutra
from lutra.backends.concrete import estimate, price_of
from lutra.backends.concrete.pricing import LARGE
from lutra.ir import ops
from lutra.ir.core import Graph
from lutra.ir.errors import Error
from lutra.ir.rewriter import Rewriter
from lutra.ir.types import Int

MODELS = Path(__file__).parent.parent / "examples" / "models"
P_ERRORS = (2.0**-40, 1e-5, 1e-2)
PIPELINES = (
    "default",
    "default{weights=4,rounding=4}",
    "default{weights=5,rounding=5}",
    "default{rounding=8}",
    "default{rounding=5,exact=true}",
    "default{weights=3,activations=3,rounding=none}",
)
"""What the example models are compiled with."""
SAMPLES = 256


def chain(bits: int, growth: int, exact: int = 0) -> Graph:
    """Two look-ups, one after the other, of so many bits; noise grows by growth^2 between them.

    exact: bits that the second look-up's input has more, and that are rounded off exactly.
    """
    graph = Graph()
    rewriter = Rewriter(graph)
    table = np.arange(1 << bits)
    x = rewriter.input("x", Int.of((1, 4), 0, (1 << bits) - 1))
    y = ops.Lookup(x, 0, np.minimum(table, table[-1] // growth)).result
    y = ops.MulClear(y, np.array(growth)).result
    if exact:
        top = ((1 << bits) - 1) << exact
        y = ops.Lookup(x, 0, np.minimum(table << exact, top) // growth).result
        y = ops.Round(ops.MulClear(y, np.array(growth)).result, exact, True).result
    rewriter.returns([ops.Lookup(y, 0, table).result])
    return graph


def circuits(names: Sequence[str]) -> Iterator[tuple[str, str, Graph]]:
    """The example models under several pipelines, then chains of look-ups."""
    for path in sorted(MODELS.glob("*.onnx")):
        if names and path.stem not in names:
            continue
        with np.load(path.with_suffix(".npz")) as data:
            samples = data["x_train"][:SAMPLES]
        for pipeline in PIPELINES:
            try:
                yield path.stem, pipeline, lutra.compile(path, samples, pipeline).module.circuit
            except Error as error:
                print(f"{path.stem} {pipeline}: {error.message}")
    if not names or "chain" in names:
        for bits in range(2, 9):
            for growth in (1, 3):
                yield "chain", f"{bits} bits, x{growth}", chain(bits, growth)
            yield "chain", f"{bits} bits, 3 rounded off", chain(bits, 1, 3)


def compare(names: Sequence[str]) -> None:
    """Print predicted and true prices, and the time that both took."""
    table = Table(
        "circuit", "pipeline", "p_error", "optimizer", "predicted", "error", "ms", "of ms"
    )
    errors = []
    for name, text, circuit in circuits(names):
        for p_error in P_ERRORS:
            start = time.process_time()
            try:
                true = estimate(circuit, p_error=p_error).price
            except Error:
                true = np.inf
            middle = time.process_time()
            found = price_of(circuit, p_error=p_error).total
            seconds = time.process_time() - middle
            error = found / true - 1 if true and np.isfinite(true) else 0.0
            errors.append(error)
            table.add_row(
                *(name, text, f"{p_error:.1e}", f"{true:.4g}", f"{found:.4g}", f"{error:+.2%}"),
                *(f"{1e3 * seconds:.1f}", f"{1e3 * (middle - start):.0f}"),
            )
    Console(width=140).print(table)
    worst, mean = np.abs(errors).max(), np.abs(errors).mean()
    print(f"{len(errors)} circuits: mean error {mean:.2%}, largest {worst:.2%}")


def calibrate() -> None:
    """Measure the price of look-ups that are built of several bootstraps."""
    bits = list(range(10, 17))
    log2_growth = [0, 2, 4, 6, 8]
    p_errors = [2.0**-40, 2.0**-30, 2.0**-20, 2.0**-14, 2.0**-10, 2.0**-6, 2.0**-3]
    prices = [
        [[_large(b, 1 << (g // 2), p) for p in reversed(p_errors)] for g in log2_growth]
        for b in bits
    ]
    data = {
        "about": "price of one large look-up; python -m benchmarks.price --calibrate",
        "bits": bits,
        "log2_growth": log2_growth,
        "minus_log2_p_error": [-float(np.log2(p)) for p in reversed(p_errors)],
        "price": prices,
    }
    LARGE.write_text(json.dumps(data, indent=None, separators=(",", ":")) + "\n")
    print(f"written {LARGE}")


def _large(bits: int, growth: int, p_error: float) -> float:
    graph = chain(bits, growth)
    found = estimate(graph, p_error=p_error, strategy="mono")
    return float(f"{found.price / found.bootstraps:.5g}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("models", nargs="*", help="names of example models, or `chain`; all")
    parser.add_argument("--calibrate", action="store_true")
    given = parser.parse_args()
    if given.calibrate:
        calibrate()
    compare(given.models)


if __name__ == "__main__":
    main()
