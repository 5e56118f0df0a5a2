"""Tree ensembles as sums: grids for the thresholds, and indicators of the ways through a tree.

A comparison is one bit, c = 1 where x <= threshold. The indicator of a way through a tree, 1 where
all its comparisons hold, is a function of their sum. A node's indicator is the sum of those of its
two children, so that only one of the two has to be computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from lutra.ir.types import Array

MODES = {
    "BRANCH_LEQ": (True, False),
    "BRANCH_LT": (True, True),
    "BRANCH_GT": (False, False),
    "BRANCH_GTE": (False, True),
}
"""For ONNX's modes of comparison: whether it holds below the threshold, and no more on it."""

LEAF = "LEAF"

SLACK = 2.0**-21
"""Of a step: float32 tells levels apart to about a quarter of it."""


@dataclass(frozen=True)
class Leaf:
    """What a tree says: one number for each target."""

    values: Array


@dataclass(frozen=True)
class Branch:
    """`below` where feature <= threshold, else `above`."""

    feature: int
    threshold: float
    below: Tree
    above: Tree


Tree: TypeAlias = Leaf | Branch


def read_trees(attributes: Mapping[str, Any]) -> list[Tree] | None:
    """The trees of a TreeEnsembleRegressor; None where it has comparisons of other kinds."""
    modes = [str(mode) for mode in attributes["nodes_modes"]]
    if not {*modes} <= {*MODES, LEAF}:
        return None
    places = zip(attributes["nodes_treeids"], attributes["nodes_nodeids"], strict=True)
    rows = {place: row for row, place in enumerate(places)}
    leaves = _leaves(attributes)
    children: set[tuple[int, int]] = set()
    for (tree, _), row in rows.items():
        if modes[row] != LEAF:
            children |= {(tree, attributes[f"nodes_{s}nodeids"][row]) for s in ("true", "false")}

    def read(place: tuple[int, int]) -> Tree:
        row, tree = rows[place], place[0]
        if modes[row] == LEAF:
            return Leaf(leaves.get(place, np.zeros(int(attributes["n_targets"]))))
        below, strict = MODES[modes[row]]
        threshold = np.float32(attributes["nodes_values"][row])
        if strict:
            threshold = np.nextafter(threshold, np.float32(-np.inf))
        sides = ("true", "false") if below else ("false", "true")
        first, second = (read((tree, attributes[f"nodes_{s}nodeids"][row])) for s in sides)
        return Branch(int(attributes["nodes_featureids"][row]), float(threshold), first, second)

    return [read(place) for place in rows if place not in children]


def _leaves(attributes: Mapping[str, Any]) -> dict[tuple[int, int], Array]:
    """The values of leaves by tree and node."""
    found: dict[tuple[int, int], Array] = {}
    columns = (attributes[f"target_{name}"] for name in ("treeids", "nodeids", "ids", "weights"))
    for tree, node, target, weight in zip(*columns, strict=True):
        values = found.setdefault((tree, node), np.zeros(int(attributes["n_targets"])))
        values[target] += weight
    return found


def are_strict(attributes: Mapping[str, Any]) -> bool:
    """Whether values on a threshold count as above it."""
    modes = [str(mode) for mode in attributes["nodes_modes"]]
    return any(mode != LEAF and MODES[mode][1] for mode in modes)


def thresholds(trees: Sequence[Tree]) -> dict[int, set[float]]:
    """All thresholds by feature."""
    found: dict[int, set[float]] = {}
    stack = list(trees)
    while stack:
        node = stack.pop()
        if isinstance(node, Branch):
            found.setdefault(node.feature, set()).add(node.threshold)
            stack += [node.below, node.above]
    return found


# --- grids --------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Grid:
    """A feature's level is the number of `first`, first + step, ... (`count` of them) below it."""

    first: float
    step: float
    count: int

    @property
    def bits(self) -> int:
        """Bits of the levels 0 to `count`."""
        return self.count.bit_length()

    def place(self, threshold: float) -> int:
        """The level i for which level <= i stands for feature <= threshold."""
        return int(np.rint((threshold - self.first) / self.step))

    @classmethod
    def fit(cls, values: set[float], bits: int, strict: bool = False) -> Grid:
        """The nearest grid of so few bits that it is as near to the thresholds as `bits` warrant.

        That is half a step of the grid that divides their range into 2^bits - 2 steps. One
        threshold, or two, are met exactly, where `strict` says on which side those values lie that
        rounding cannot tell from a threshold.
        """
        found = np.sort(np.array(list(values), np.float64))
        first, spread = float(found[0]), float(found[-1] - found[0])
        if not spread or bits == 1:
            return cls(float(found[len(found) // 2]), spread or 1.0, 1)
        parts = (found - first) / spread
        for width in range(2, bits + 1):
            near = {m: _distance(parts, m) for m in range(1, 2**width - 1)}
            steps = min(near, key=lambda m: (near[m], m))
            if near[steps] <= 1 / (2**bits - 2) / 2 + 1e-9:
                break
        return cls(first, spread / steps * (1 - SLACK if strict else 1 + SLACK), steps + 1)


def _distance(parts: Array, steps: int) -> float:
    """How far numbers within 0 and 1 lie off the multiples of 1 / steps, at most."""
    return float(np.abs(parts - np.rint(parts * steps) / steps).max())


# --- sums ---------------------------------------------------------------------------------------
Way: TypeAlias = tuple[tuple[int, int, int], ...]
"""Conditions lo < level <= hi, as (feature, lo, hi) in order; -1 and the grid's count are no bounds
"""


@dataclass
class Sums:
    """bias + sum of coefficients times indicators of ways, [targets] each.

    Ways of one comparison are `level <= i`, whose bit is the comparison itself.
    """

    grids: Mapping[int, Grid]
    bias: Array
    terms: dict[Way, Array] = field(default_factory=dict)

    def add(self, node: Tree) -> None:
        """Add a tree."""
        self._add(node, (), {(): 1})

    def _add(self, node: Tree, way: Way, indicator: Mapping[Way, int]) -> None:
        """Add what lies behind a way, whose indicator is a sum of those of others."""
        if isinstance(node, Leaf):
            for other, factor in indicator.items():
                self._term(other, factor * node.values)
            return
        level = self.grids[node.feature].place(node.threshold)
        count = self.grids[node.feature].count
        below = _within(way, node.feature, -1, level, count)
        above = _within(way, node.feature, level, count, count)
        first, second = self._indicator(below), self._indicator(above)
        if self._price(below) <= self._price(above):
            second = _difference(indicator, first)
        else:
            first = _difference(indicator, second)
        if below is not None:
            self._add(node.below, below, first)
        if above is not None:
            self._add(node.above, above, second)

    def _term(self, way: Way, values: Array) -> None:
        if way:
            self.terms[way] = self.terms.get(way, np.zeros_like(self.bias)) + values
        else:
            self.bias = self.bias + values

    def _indicator(self, way: Way | None) -> dict[Way, int]:
        """The indicator of a way; `level > i` is 1 - (level <= i)."""
        if way is None:
            return {}
        if len(way) == 1 and way[0][2] == self.grids[way[0][0]].count:
            feature, lo, _ = way[0]
            return {(): 1, ((feature, -1, lo),): -1}
        return {way: 1}

    def _price(self, way: Way | None) -> tuple[int, int]:
        """What an indicator costs: nothing if it is there already, or a comparison."""
        count = 0 if way is None else sum(1 for _ in self.comparisons(way))
        return (int(count > 1 and way not in self.terms), count)

    def comparisons(self, way: Way) -> Iterator[tuple[int, int, int]]:
        """(feature, level, sign): level <= i where the sign is 1, level > i where it is -1."""
        for feature, lo, hi in way:
            if hi < self.grids[feature].count:
                yield feature, hi, 1
            if lo >= 0:
                yield feature, lo, -1


def _within(way: Way, feature: int, lo: int, hi: int, count: int) -> Way | None:
    """A way with one more condition; None where no level meets all of them."""
    bounds = {f: (a, b) for f, a, b in way}
    a, b = bounds.get(feature, (-1, count))
    bounds[feature] = (max(a, lo), min(b, hi))
    if bounds[feature][0] >= bounds[feature][1]:
        return None
    return tuple((f, *bounds[f]) for f in sorted(bounds))


def _difference(whole: Mapping[Way, int], part: Mapping[Way, int]) -> dict[Way, int]:
    """The terms of one indicator less those of another."""
    terms = {way: whole.get(way, 0) - part.get(way, 0) for way in {**whole, **part}}
    return {way: factor for way, factor in terms.items() if factor}
