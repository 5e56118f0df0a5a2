"""What a circuit costs, predicted in milliseconds without the compiler.

The optimizer's problem is stated and solved here (`noise`, `partitions`, `optimum`); what is left
of its parameters is a coarser grid. Look-ups too wide for one bootstrap are built of several, whose
price is a table measured on the optimizer itself: `python -m benchmarks.price --calibrate`.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from lutra.backends.concrete.noise import Node, NoiseGraph, noise_graph
from lutra.backends.concrete.optimum import Optimum, cheapest
from lutra.backends.concrete.options import Options
from lutra.backends.concrete.partitions import (
    Problem,
    fits_large_precision,
    problem_of,
    worst_growth,
)
from lutra.backends.concrete.strategies import strategies
from lutra.ir.analysis import analysis
from lutra.ir.core import Graph, Op

LARGE = Path(__file__).with_name("large_precision.json")
"""Prices of look-ups that are built of several bootstraps."""

_kept_graphs = analysis(noise_graph)


@dataclass(frozen=True)
class OpPrice:
    """Predicted price of one operation's bootstraps, key switches included."""

    op: Op
    price: float


@dataclass(frozen=True)
class Price:
    """A predicted price, in the unit of the optimizer's "complexity".

    total: of one sample; infinite where no parameters are found.
    strategy: the cheapest of those asked for.
    p_error: of one look-up.
    ops: the operations that bootstrap, in order.
    """

    total: float
    strategy: str
    p_error: float
    ops: tuple[OpPrice, ...]


def predicted(circuit: Graph, options: Options) -> Price:
    """Predict what `estimate` would say of an integer circuit with the same options.

    Within a few per cent on the circuits of the example models (`python -m benchmarks.price`).
    """
    needed = options.widths == "needed"
    graph = _kept_graphs(circuit) if needed else noise_graph(circuit, options.widths)
    p_error = _p_error(graph, options)
    reads = [graph.nodes[node.inputs[0]].bits for node in graph.nodes if node.kind == "look-up"]
    names = strategies(graph.ops, max(reads, default=0), options)
    found = [_price(graph, name, p_error, options) for name in names]
    return min(found, key=lambda price: price.total)


@lru_cache(maxsize=4096)
def predicted_look_up(bits: int, growth: float, options: Options) -> float:
    """Price of one look-up that reads `bits` bits, among many of its kind.

    growth: factor on the variance of noise from the look-ups before to what this one reads.
    """
    nodes = (
        Node("input", (), bits),
        Node("look-up", (0,), bits, count=1),
        Node("sum", (1,), bits, growth=growth),
        Node("look-up", (2,), bits, count=1),
    )
    graph = NoiseGraph(nodes, (3,), ())
    p_error = 1e-5 if options.p_error is None else options.p_error
    total = _optimum(problem_of(graph, "precision", p_error), options.security_bits).price
    return min(total, _large(graph, p_error)) / 2


def _p_error(graph: NoiseGraph, options: Options) -> float:
    """The error of one look-up that satisfies both bounds."""
    bounds = [1.0 if options.p_error is None else options.p_error]
    if options.global_p_error is not None:
        count = sum(node.count for node in graph.nodes)
        bounds.append(-math.expm1(math.log1p(-options.global_p_error) / max(1, count)))
    return min(min(bounds), 1 - 1e-9)


def _price(graph: NoiseGraph, strategy: str, p_error: float, options: Options) -> Price:
    problem = problem_of(graph, strategy, p_error)
    optimum = _optimum(problem, options.security_bits)
    large = _large(graph, p_error)
    if large < optimum.price:
        each = large / sum(site.count for site in problem.sites)
        costs = [(site.op, each * site.count) for site in problem.sites]
    elif optimum.bootstrap:
        costs = [
            (
                site.op,
                site.count
                * (
                    optimum.bootstrap[site.partition]
                    + optimum.switch[site.source, site.partition]
                    + optimum.conversion.get((site.partition, site.converted or 0), 0.0)
                    * (site.converted is not None)
                ),
            )
            for site in problem.sites
        ]
    else:
        costs = [(site.op, math.inf) for site in problem.sites]
    shares: dict[int, float] = {}
    for op, cost in costs:
        shares[op] = shares.get(op, 0.0) + cost
    ops = tuple(OpPrice(graph.ops[op], cost) for op, cost in sorted(shares.items()))
    return Price(min(large, optimum.price), strategy, p_error, ops)


_optima: dict[object, Optimum] = {}


def _optimum(problem: Problem, security: int) -> Optimum:
    """The optimum, kept: searches ask about similar circuits."""
    key = (
        problem.bounds,
        problem.bootstraps,
        frozenset(problem.switches.items()),
        frozenset(problem.conversions.items()),
        security,
    )
    if key not in _optima:
        if len(_optima) >= 4096:
            _optima.clear()
        _optima[key] = cheapest(problem, security)
    return _optima[key]


def _large(graph: NoiseGraph, p_error: float) -> float:
    """Price with look-ups that are built of several bootstraps; infinite where there are none."""
    count = sum(node.count for node in graph.nodes)
    if not count or not fits_large_precision(graph):
        return math.inf
    bits = max(node.bits for node in graph.nodes)
    table, lowest, highest = _large_table()
    if bits < lowest[0] or bits > highest[0]:
        return math.inf
    point = (float(bits), math.log2(max(1.0, worst_growth(graph))), -math.log2(p_error))
    return count * float(2 ** table(np.clip(point, lowest, highest)).item())


@lru_cache(maxsize=1)
def _large_table() -> tuple[Any, list[float], list[float]]:
    from scipy.interpolate import RegularGridInterpolator

    data = json.loads(LARGE.read_text())
    axes = [data[name] for name in ("bits", "log2_growth", "minus_log2_p_error")]
    table = RegularGridInterpolator(axes, np.log2(np.array(data["price"])))
    return table, [axis[0] for axis in axes], [axis[-1] for axis in axes]
