"""Pass `lower-trees`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lutra.ir.core import Graph, Value
from lutra.ir.ops import Dequantize, IntConstant, Onnx, Quantize
from lutra.ir.ort import element_type
from lutra.ir.rewriter import Rewriter
from lutra.ir.types import Array, Ints, Tensor
from lutra.passes.affine import NO_OFFSET, ZERO
from lutra.passes.base import Context, Lossy, Pass
from lutra.passes.bits import Bits, bits_for, check_bits
from lutra.passes.rules_linear import constant, node
from lutra.passes.trees import Grid, Sums, Way, are_strict, read_trees, thresholds

ONE = np.array(1.0)


@dataclass(frozen=True)
class LowerTrees(Pass):
    """Compute tree ensembles by comparisons, indicators of ways through the trees, and sums.

    The client counts for each feature how many of its steps lie below it: few bits, on a grid that
    meets the thresholds. Then, under encryption,

        c = (level <= i)                  one look-up for each threshold, of all trees together
        a = (sum of c and 1 - c == n)     one look-up for each way through n comparisons
        y = bias + sum of values * a      leaf values, which are clear: no look-up

    Of the two children of a node only one is looked up: the indicators of both add up to that of
    the node. So a tree of n leaves needs no more than n - 2 look-ups for ways.

    bits: of the levels, at most. Grids have as few steps as are as near to the thresholds as so
        many bits warrant: one threshold of a feature takes one bit, two take two, exactly.

    Ensembles that compare by equality, or take the smallest or largest of their trees, are left
    alone.
    """

    name = "lower-trees"
    contract = Lossy
    requires = frozenset({"one graph"})
    bits: Bits = 6

    def __post_init__(self) -> None:
        check_bits(self.bits, "bits")

    def run(self, graph: Graph, rewriter: Rewriter, context: Context) -> None:
        for op in list(graph.ops):
            if isinstance(op, Onnx) and op.op_type == "TreeEnsembleRegressor":
                sums = _sums(op, bits_for(self.bits, op.loc, "bits"))
                if sums is not None and sums.terms:
                    rewriter.replace(op, _Lowering(op, sums, rewriter).result())


def _sums(op: Onnx, bits: int) -> Sums | None:
    """An ensemble as sums over ways."""
    attributes = op.attrs
    aggregate = attributes.get("aggregate_function", "SUM")
    plain = attributes.get("post_transform", "NONE") == "NONE"
    trees = read_trees(attributes)
    if trees is None or not plain or aggregate not in ("SUM", "AVERAGE"):
        return None
    strict = are_strict(attributes)
    grids = {f: Grid.fit(found, bits, strict) for f, found in thresholds(trees).items()}
    targets = int(attributes["n_targets"])
    sums = Sums(grids, np.zeros(targets))
    for tree in trees:
        sums.add(tree)
    scale = len(trees) if aggregate == "AVERAGE" else 1
    base = np.broadcast_to(np.asarray(attributes.get("base_values", 0.0), np.float64), targets)
    sums.bias = sums.bias / scale + base
    sums.terms = {way: values / scale for way, values in sums.terms.items() if values.any()}
    return sums


class _Lowering:
    """Builds what stands in an ensemble's place."""

    def __init__(self, op: Onnx, sums: Sums, rewriter: Rewriter) -> None:
        self.op, self.sums, self.rewriter = op, sums, rewriter
        ways = [tuple(sums.comparisons(way)) for way in sums.terms]
        pairs = {(feature, level) for way in ways for feature, level, _ in way}
        self.comparisons = sorted(pairs, key=lambda pair: (sums.grids[pair[0]].bits, pair))

    def result(self) -> Value:
        compared = self._compared()
        single = {w: way for way in self.sums.terms if (w := self._alone(way)) is not None}
        parts, order = [], list[Way]()
        if single:
            columns = sorted(single)
            parts.append(node("Gather", compared, constant(columns, np.int64), axis=1))
            order += [single[column] for column in columns]
        for value, ways in self._looked_up(compared):
            parts.append(value)
            order += ways
        weights = np.stack([self.sums.terms[way] for way in order]).astype(np.float32)
        leaves = node("MatMul", _joined(parts), constant(weights))
        self._place(leaves, "leaves")
        return node("Add", leaves, constant(self.sums.bias.astype(np.float32)))

    def _place(self, value: Value, part: str) -> Value:
        """Insert what computes a value, under a name of its own."""
        loc = tuple(f"{name}/{part}" for name in self.op.loc)
        self.rewriter.insert(value.owner, before=self.op, loc=loc)
        return value

    def _alone(self, way: Way) -> int | None:
        """The place of a way's only comparison, `level <= i`; None if there are several."""
        steps = list(self.sums.comparisons(way))
        return self.comparisons.index(steps[0][:2]) if len(steps) == 1 else None

    def _compared(self) -> Value:
        """The bits of all comparisons [samples, comparisons]: level <= i."""
        x = self.op.input(0)
        assert x is not None
        if x.type != Tensor(x.shape):
            x = node("Cast", x, to=element_type("float32"))
        parts = []
        for bits in sorted({self.sums.grids[feature].bits for feature, _ in self.comparisons}):
            chosen = [c for c in self.comparisons if self.sums.grids[c[0]].bits == bits]
            features = sorted({feature for feature, _ in chosen})
            levels = self._levels(x, features, bits)
            places = [features.index(feature) for feature, _ in chosen]
            read = node("Gather", levels, constant(places, np.int64), axis=1)
            bounds = constant([level for _, level in chosen], np.float32)
            parts.append(_bit(node("LessOrEqual", read, bounds)))
        return self._place(_joined(parts), "comparisons")

    def _levels(self, x: Value, features: list[int], bits: int) -> Value:
        """The levels of some features [samples, features], as floats."""
        grids: list[Grid] = [self.sums.grids[feature] for feature in features]
        first, step = np.array([grid.first for grid in grids]), np.array([g.step for g in grids])
        chosen = node("Gather", x, constant(features, np.int64), axis=1)
        above = node("Sub", chosen, constant(first, np.float32))
        q = Quantize(above, step[None], ZERO, 0, 2**bits - 1, "ceil").result
        return self._place(Dequantize(q, ONE, ZERO, NO_OFFSET).result, "levels")

    def _looked_up(self, compared: Value) -> Iterator[tuple[Value, list[Way]]]:
        """Indicators of ways through several comparisons, by the bits of their sums."""
        ways = [way for way in self.sums.terms if self._alone(way) is None]
        lengths = {way: sum(1 for _ in self.sums.comparisons(way)) for way in ways}
        for bits in sorted({length.bit_length() for length in lengths.values()}):
            chosen = [way for way in ways if lengths[way].bit_length() == bits]
            signs, counts = self._signs(chosen)
            weights = Dequantize(IntConstant(signs).result, ONE, ZERO, NO_OFFSET).result
            total = self._place(node("MatMul", compared, weights), f"ways{bits}")
            yield _bit(node("Greater", total, constant(counts - 0.5, np.float32))), chosen

    def _signs(self, ways: list[Way]) -> tuple[Ints, Array]:
        """Signs of comparisons [comparisons, ways], and the sums of ways that are gone."""
        signs = np.zeros((len(self.comparisons), len(ways)), np.int64)
        for column, way in enumerate(ways):
            for feature, level, sign in self.sums.comparisons(way):
                signs[self.comparisons.index((feature, level)), column] = sign
        return signs, np.asarray((signs > 0).sum(0))


def _bit(condition: Value) -> Value:
    """A truth value as a float, 0 or 1, that is quantized as such."""
    floats = node("Cast", condition, to=element_type("float32"))
    q = Quantize(floats, ONE, ZERO, 0, 1).result
    return Dequantize(q, ONE, ZERO, NO_OFFSET).result


def _joined(parts: list[Value]) -> Value:
    return parts[0] if len(parts) == 1 else node("Concat", *parts, axis=1)
