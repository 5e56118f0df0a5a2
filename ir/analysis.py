"""Analyses: functions of a graph whose results are kept until the graph changes.

    @analysis
    def depth(graph: Graph) -> int: ...

Nothing is stored on operations or values, so nothing there can go stale.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import networkx as nx

from lutra.ir.core import Graph, Op, Value
from lutra.ir.decompose import parts
from lutra.ir.ops import Lookup, Max, Mul, Round
from lutra.ir.types import Int

R = TypeVar("R")

_kept: WeakKeyDictionary[Graph, dict[Any, tuple[int, Any]]] = WeakKeyDictionary()


def analysis(function: Callable[[Graph], R]) -> Callable[[Graph], R]:
    """Decorator: keep the result until the rewriter changes the graph."""

    @wraps(function)
    def cached(graph: Graph) -> R:
        results = _kept.setdefault(graph, {})
        found = results.get(function)
        if found is None or found[0] != graph.version:
            found = (graph.version, function(graph))
            results[function] = found
        result: R = found[1]
        return result

    return cached


@analysis
def def_use(graph: Graph) -> nx.DiGraph[Op]:
    """Operations as nodes, an edge from each producer to each reader."""
    edges: nx.DiGraph[Op] = nx.DiGraph()
    for op in graph.ops:
        edges.add_node(op)
        edges.add_edges_from((value.owner, op) for value in op.operands)
    return edges


@analysis
def dominators(graph: Graph) -> dict[Op, Op]:
    """For each operation its immediate postdominator, which all its paths to the results meet."""
    reverse = def_use(graph).reverse()
    found: dict[Op, Op] = nx.immediate_dominators(reverse, graph.terminator)
    return found


@analysis
def last_uses(graph: Graph) -> dict[Op, list[Value]]:
    """For each operation the values that nothing reads after it."""
    last: dict[Value, Op] = {}
    for op in graph.ops:
        last.update(dict.fromkeys(op.operands, op))
    dying: dict[Op, list[Value]] = {}
    for value, op in last.items():
        dying.setdefault(op, []).append(value)
    return dying


@analysis
def peak_live_elements(graph: Graph) -> int:
    """The largest number of elements of all values alive at once."""
    dying = last_uses(graph)
    alive = peak = 0
    for op in graph.ops:
        alive += sum(_size(value) for value in op.results if value.users)
        peak = max(peak, alive)
        alive -= sum(_size(value) for value in dying.get(op, ()))
    return peak


def _size(value: Value) -> int:
    size = 1
    for extent in value.shape:
        size *= extent
    return size


@analysis
def ranges(graph: Graph) -> dict[Value, tuple[int, int]]:
    """Smallest and largest value of every integer."""
    return {v: (v.type.min, v.type.max) for v in _integers(graph) if isinstance(v.type, Int)}


@analysis
def bit_widths(graph: Graph) -> dict[Value, int]:
    """Bits of every integer."""
    return {v: v.type.bits for v in _integers(graph) if isinstance(v.type, Int)}


def _integers(graph: Graph) -> Iterator[Value]:
    return (v for op in graph.ops for v in op.results if isinstance(v.type, Int))


@dataclass(frozen=True)
class LookUpSite:
    """Table look-ups that one operation makes.

    count: programmable bootstraps, one for each element and table.
    bits: width of what they read, after rounding.
    rounded_from: width before rounding; equal to `bits` where nothing is rounded.
    exact: whether that rounding is exact.
    """

    op: Op
    count: int
    bits: int
    rounded_from: int
    exact: bool = True


@analysis
def look_ups(graph: Graph) -> list[LookUpSite]:
    """All operations that bootstrap, in order."""
    return [site for op in graph.ops for site in _sites(op)]


def _sites(op: Op) -> Iterator[LookUpSite]:
    """The look-ups of an operation, or of those that it decomposes into."""
    site = _site(op)
    if site is not None:
        yield site
    else:
        yield from (replace(site, op=op) for part in parts(op) for site in _sites(part))


def _site(op: Op) -> LookUpSite | None:
    if not isinstance(op, Lookup | Max | Mul) or op.result.clear:
        return None
    if isinstance(op, Mul) and not op.squared():
        return None
    bits, size = op.index_bits, op.result.int_type.size
    source = op.x.owner
    if isinstance(op, Lookup) and isinstance(source, Round):
        return LookUpSite(op, size, bits, source.x.int_type.bits, source.exact)
    return LookUpSite(op, size * len(op.squared()) if isinstance(op, Mul) else size, bits, bits)


@analysis
def pbs_count(graph: Graph) -> int:
    """Programmable bootstraps of one run on one sample, without those of exact rounding."""
    return sum(site.count for site in look_ups(graph))


@analysis
def pbs_by_bits(graph: Graph) -> dict[int, int]:
    """Programmable bootstraps by the width of what they read."""
    counts: Counter[int] = Counter()
    for site in look_ups(graph):
        counts[site.bits] += site.count
    return dict(sorted(counts.items()))
