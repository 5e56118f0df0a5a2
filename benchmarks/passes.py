"""Time per node of Lutra's own machinery, and how it grows; side by side with its peers.

    python -m benchmarks.passes                      # 10^2 to 10^5 nodes: some ten minutes
    python -m benchmarks.passes --sizes 100 1000 --no-zoo

Synthetic graphs at the integer and at the float level, the same ones in every framework, and the
nine nets that the onnx package ships (`light_*.onnx`). Peers, from benchmarks/requirements.txt, are
left out where they are not installed. `growth` is p of the fit seconds ~ nodes^p; `last x10` the
same between the largest size and a tenth of it.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import onnx

from benchmarks.measure import Series, Task, table
from benchmarks.synthetic import (
    Recipe,
    float_recipe,
    integer_recipe,
    lutra_floats,
    lutra_integers,
)
from lutra.frontends.onnx import import_model
from lutra.ir import analysis
from lutra.ir.core import Graph
from lutra.ir.errors import Error
from lutra.ir.parser import parse_graph
from lutra.ir.rewriter import Rewriter
from lutra.ir.text import Printer
from lutra.ir.types import Array
from lutra.ir.verifier import verify_graph
from lutra.passes.base import Context, Pass
from lutra.passes.canonicalize import Canonicalize
from lutra.passes.cse import EliminateCommonSubexpressions
from lutra.passes.dce import EliminateDeadCode
from lutra.passes.fold_constants import FoldConstants

SIZES = (100, 1000, 10_000, 100_000)
ZOO = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
PEERS = ("xdsl", "onnx-ir", "onnxscript")
BAR = 1.1
"""Growth exponents stay below."""
COMPARED = ("canonicalize", "fold", "cse", "dce")
"""At these Lutra is to be at least as fast per node as the fastest peer."""
PATIENCE = 20.0
"""Seconds after which a run is given up, and not tried at larger sizes."""
INLINE = 64
"""Elements of the largest array that stands in the text itself."""

Tasks = Iterator[Task[Any]]


# --- Lutra --------------------------------------------------------------------------------------
def lutra_tasks(graph: Graph) -> Tasks:
    constants: dict[str, Array] = {}
    text = Printer(INLINE, constants).graph(graph)

    def same() -> Graph:
        return graph

    def apply(item: Pass) -> Callable[[Graph], object]:
        return lambda graph: item.run(graph, Rewriter(graph), Context())

    yield Task("parse", same, lambda _: parse_graph(text, constants))
    yield Task("print", same, lambda graph: Printer(INLINE, {}).graph(graph))
    yield Task("verify", same, verify_graph)
    yield Task("clone", same, lambda graph: graph.clone())
    yield Task("canonicalize", graph.clone, apply(Canonicalize()))
    yield Task("fold", graph.clone, apply(FoldConstants()))
    yield Task("cse", graph.clone, apply(EliminateCommonSubexpressions()))
    yield Task("dce", graph.clone, apply(EliminateDeadCode()))
    yield Task("ranges", graph.clone, derive_ranges)


def derive_ranges(graph: Graph) -> object:
    """Every type anew, by interval arithmetic where it is an integer's, and the ranges' hulls."""
    for op in graph.ops:
        op.result_types()
    return analysis.ranges(graph), analysis.bit_widths(graph)


# --- peers --------------------------------------------------------------------------------------
def installed(*packages: str) -> bool:
    for package in packages:
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError:
            print(f"skipped: {package} is not installed (see benchmarks/requirements.txt)")
            return False
    return True


def frameworks() -> dict[str, dict[str, Callable[[Recipe], Tasks]]]:
    """By level and framework: the tasks on a recipe."""
    integer = {"lutra": lambda recipe: lutra_tasks(lutra_integers(recipe))}
    floats = {"lutra": lambda recipe: lutra_tasks(lutra_floats(recipe))}
    if installed("xdsl"):
        integer["xdsl"] = import_module("benchmarks.peer_xdsl").tasks
    if installed("onnx-ir", "onnxscript"):
        peer = import_module("benchmarks.peer_onnx")
        integer["onnx-ir/onnxscript"] = floats["onnx-ir/onnxscript"] = lambda recipe: peer.tasks(
            peer.build(recipe)
        )
    return {"integer": integer, "float": floats}


# --- runs ---------------------------------------------------------------------------------------
def synthetic(
    level: dict[str, Callable[[Recipe], Tasks]],
    recipe: Callable[[int], Recipe],
    sizes: Sequence[int],
    repeats: int,
    patience: float,
) -> list[Series]:
    found: dict[tuple[str, str], Series] = {}
    for size in sizes:
        steps = recipe(size)
        for name, tasks in level.items():
            for task in tasks(steps):
                series = found.setdefault((task.name, name), Series(task.name, name))
                series.measure(task, size, max(repeats, min(20, 10_000 // size)), patience)
    return sorted(found.values(), key=lambda series: ORDER.index(series.task))


ORDER = (
    *("parse", "print", "verify", "clone", "canonicalize", "fold", "optimize", "cse", "dce"),
    "ranges",
)


def zoo(repeats: int, patience: float) -> dict[str, list[Series]]:
    """The nets of the onnx package by name, in all frameworks that read ONNX."""
    found: dict[str, list[Series]] = {}
    peer = import_module("benchmarks.peer_onnx") if installed("onnx-ir", "onnxscript") else None
    for path in sorted(ZOO.glob("light_*.onnx")):
        name = path.stem.removeprefix("light_")
        model = onnx.load(path)
        size = len(model.graph.node)
        try:
            graph = import_model(path).main
        except Error as error:
            print(f"skipped: {name}: {error}")
            continue
        runs = [("lutra", lutra_tasks(graph))]
        if peer is not None:
            runs.append(("onnx-ir/onnxscript", peer.tasks(model)))
        found[name] = []
        for framework, tasks in runs:
            for task in tasks:
                series = Series(task.name, framework)
                series.measure(task, size, repeats, patience)
                found[name].append(series)
    return found


def zoo_table(nets: dict[str, list[Series]]) -> str:
    """Microseconds per node of the file: one line for each net and framework."""
    lines = [" " * 34 + f"{'nodes':>6}" + "".join(f"{task[:10]:>11}" for task in ORDER)]
    for name, series in nets.items():
        for framework in dict.fromkeys(one.framework for one in series):
            own = {one.task: one for one in series if one.framework == framework}
            size = max(size for one in series for size in one.seconds)
            cells = "".join(
                f"{own[task].per_node(size):11.2f}"
                if task in own and own[task].seconds
                else f"{'-':>11}"
                for task in ORDER
            )
            lines.append(f"  {name:13}{framework:19}{size:6}{cells}")
    return "\n".join(lines)


# --- what they show -----------------------------------------------------------------------------
def slower(series: Sequence[Series]) -> Iterator[str]:
    """Where a peer takes less time than Lutra, among the tasks compared."""
    for task in COMPARED:
        own, *peers = sorted(
            (one for one in series if one.task == task), key=lambda one: one.framework != "lutra"
        )
        for size in own.seconds:
            for peer in peers:
                if peer.seconds.get(size, own.seconds[size]) < own.seconds[size]:
                    yield (
                        f"{task} of {size} nodes: {own.per_node(size):.2f} µs a node, "
                        f"{peer.framework} {peer.per_node(size):.2f}"
                    )


def steep(series: Sequence[Series]) -> Iterator[str]:
    """Lutra's series that grow faster than the bar."""
    for one in series:
        if one.framework == "lutra" and max(one.growth, one.last_growth) >= BAR:
            yield f"{one.task} grows with exponent {one.growth:.2f}, {one.last_growth:.2f} at last"


def versions() -> str:
    own = [f"{name} {metadata.version(name)}" for name in ("lutra", "onnx", "numpy")]
    peers = [f"{name} {metadata.version(name)}" for name in PEERS if installed(name)]
    return f"python {platform.python_version()}, {', '.join(own + peers)}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.passes", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="nodes")
    parser.add_argument("--repeats", type=int, default=3, help="runs, of which the fastest counts")
    parser.add_argument(
        "--patience", type=float, default=PATIENCE, help="seconds after which a run is given up"
    )
    parser.add_argument("--no-zoo", action="store_true", help="synthetic graphs only")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # the peers tell of each node that they cannot evaluate
    print(versions())
    results: dict[str, list[Series]] = {}
    recipes = {"integer": integer_recipe, "float": float_recipe}
    for level, runs in frameworks().items():
        results[level] = synthetic(
            runs, recipes[level], options.sizes, options.repeats, options.patience
        )
        print(f"\n{level} level, microseconds per node\n{table(results[level])}", flush=True)
    if not options.no_zoo:
        nets = zoo(options.repeats, options.patience)
        print(f"\nnets of the onnx package, microseconds per node\n{zoo_table(nets)}", flush=True)
        results |= nets
    print()
    for level, series in results.items():
        for line in slower(series):
            print(f"slower than a peer: {level}: {line}")
        for line in steep(series) if level in recipes else ():
            print(f"too steep: {level}: {line}")
    if options.json:
        figures = {level: [asdict(one) for one in series] for level, series in results.items()}
        options.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
