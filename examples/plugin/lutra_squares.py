"""A plugin for Lutra: the square of an encrypted value, which is never negative."""

from dataclasses import dataclass

import numpy as np

from lutra.ir.core import Graph, Op, Value, op
from lutra.ir.ops import Lookup, Mul
from lutra.ir.rewriter import Rewriter
from lutra.ir.types import Array, Int
from lutra.passes import Context, Exact, Pass
from lutra.passes.rules import Outcome, apply_rules, no

SQUARES = "clean,use-square,clean"
"""The pipeline `squares`."""
TABLE_BITS = 12
"""Wider values are multiplied."""


@op("square")
class Square(Op):
    """x * x, for an encrypted x: one PBS for each element."""

    x: Value

    def infer(self) -> Int:
        """The product's range without its negative part."""
        x, product = self.x.int_type, Mul(self.x, self.x).result.int_type
        return Int.of(x.shape, np.where((x.lo <= 0) & (x.hi >= 0), 0, product.lo), product.hi)

    def eval(self, x: Array) -> Array:
        """The meaning: what backend `numpy` runs, and what all others are held to."""
        return x * x

    def decompose(self) -> Value:
        """What Concrete and all other backends make of it: a table of squares."""
        x = self.x.int_type
        if x.bits > TABLE_BITS:
            return Mul(self.x, self.x).result
        first = -(1 << (x.bits - 1)) if x.signed else 0
        return Lookup(self.x, first, (first + np.arange(1 << x.bits)) ** 2).result


def use_square(product: Mul, rw: Rewriter) -> Outcome:
    """x * x -> square(x)"""
    if product.x is not product.y:
        return no("its factors are different values")
    rw.replace(product, Square(product.x))
    return None


@dataclass(frozen=True)
class UseSquare(Pass):
    """Write the product of a value with itself as `square`.

    x * x -> square(x)
    """

    name = "use-square"
    contract = Exact

    def run(self, graph: Graph, rewriter: Rewriter, context: Context) -> None:
        apply_rules(graph, rewriter, [use_square], context.log)
