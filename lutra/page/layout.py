"""Places the operations of a graph in layers, as in Sugiyama, Tagawa, Toda, "Methods for Visual
Understanding of Hierarchical System Structures", IEEE Transactions on Systems, Man, and
Cybernetics, 1981: ranks by the longest path, edges that skip ranks through points of their own, an
order within ranks by the mean place of what is read.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, TypeAlias, TypeVar

import networkx as nx

N = TypeVar("N", bound=Hashable)
Point: TypeAlias = tuple[float, float]

WIDTH, HEIGHT = 232.0, 64.0
"""Of an operation's box."""
GAP_X, GAP_Y = 28.0, 34.0
BEND = 30.0
"""Width left for an edge that passes by."""
MARGIN = 12.0


@dataclass(frozen=True)
class Layout(Generic[N]):
    """Centres of nodes, the points that edges pass through, and the size of the whole."""

    places: Mapping[N, Point]
    edges: Sequence[Sequence[Point]]
    width: float
    height: float


@dataclass(frozen=True)
class _Bend(Generic[N]):
    """Where an edge passes through a rank."""

    edge: tuple[N, N]
    rank: int


def layout(graph: nx.DiGraph[N]) -> Layout[N]:
    """Place an acyclic graph from top to bottom."""
    generations = [list(nodes) for nodes in nx.topological_generations(graph)]
    rank = {node: level for level, nodes in enumerate(generations) for node in nodes}
    rows: list[list[N | _Bend[N]]] = [list(nodes) for nodes in generations]
    chains: list[list[N | _Bend[N]]] = []
    before: dict[N | _Bend[N], list[N | _Bend[N]]] = {}
    for edge in graph.edges:
        first, last = edge
        bends = [_Bend(edge, level) for level in range(rank[first] + 1, rank[last])]
        for bend in bends:
            rows[bend.rank].append(bend)
        chain: list[N | _Bend[N]] = [first, *bends, last]
        chains.append(chain)
        for one, other in pairwise(chain):
            before.setdefault(other, []).append(one)
    xs = _ordered(rows, before)
    left = min((x - _width(node) / 2 for node, x in xs.items()), default=0.0) - MARGIN
    right = max((x + _width(node) / 2 for node, x in xs.items()), default=0.0) + MARGIN
    ys = {
        node: MARGIN + HEIGHT / 2 + level * (HEIGHT + GAP_Y)
        for level, row in enumerate(rows)
        for node in row
    }
    places = {node: (xs[node] - left, ys[node]) for node in xs}
    return Layout(
        {node: place for node, place in places.items() if not isinstance(node, _Bend)},
        [_line(chain, places) for chain in chains],
        right - left,
        2 * MARGIN + len(rows) * (HEIGHT + GAP_Y) - GAP_Y,
    )


def _ordered(
    rows: list[list[N | _Bend[N]]], before: Mapping[N | _Bend[N], Sequence[N | _Bend[N]]]
) -> dict[N | _Bend[N], float]:
    """The x of every node: rows side by side, each under what it reads."""
    xs: dict[N | _Bend[N], float] = {}
    for row in rows:
        wanted = {
            node: sum(xs[one] for one in before[node]) / len(before[node])
            for node in row
            if node in before
        }
        row.sort(key=lambda node: wanted.get(node, 0.0))
        at, spans = 0.0, []
        for node in row:
            spans.append(at + _width(node) / 2)
            at += _width(node) + GAP_X
        # the row as a whole comes to stand where its nodes would, on average
        shifts = [wanted.get(node, 0.0) - x for node, x in zip(row, spans, strict=True)]
        shift = sum(shifts) / len(shifts)
        xs.update((node, x + shift) for node, x in zip(row, spans, strict=True))
    return xs


def _width(node: object) -> float:
    return BEND if isinstance(node, _Bend) else WIDTH


def _line(chain: Sequence[N | _Bend[N]], places: Mapping[N | _Bend[N], Point]) -> list[Point]:
    """From the bottom of the first node past the bends to the top of the last."""
    points: list[Point] = []
    for node in chain:
        x, y = places[node]
        points += [(x, y - HEIGHT / 2), (x, y + HEIGHT / 2)]
    return points[1:-1]
