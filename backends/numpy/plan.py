"""Runs integer circuits on batches in the clear: what the samples do not change is decided before.

Bit for bit the reference meaning, in fewer and cheaper passes over the arrays:

- layers multiply in the fastest floating-point type in which all their sums are exact, chosen by
  what values can reach even where claims of ranges fail;
- what stands between layers (constants, claims of ranges, rounding, look-ups) is one table, whose
  numbers have the type in which the next layer multiplies;
- arrays between such steps keep samples on the last axis in memory, where layers need no
  transposed copies, rows select tables and convolutions gather whole rows. All other operations
  see a view with samples first.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from lutra.backends.numpy.cells import INTEGERS, Cells, Form, regions, tabulated
from lutra.backends.numpy.layers import Convolution, Product, multiplies_in
from lutra.ir.core import Graph, Op, Value
from lutra.ir.interpreter import Interpreter, Step, Steps
from lutra.ir.ops import Assume, Conv, MatMul
from lutra.ir.ops.movement import Movement
from lutra.ir.reach import reaches


class Plan(Interpreter):
    """The reference meaning of a circuit, prepared for many samples at once."""

    def _plan(self) -> Steps:
        reach = reaches(self.graph)
        needed = [op for op in self.graph.ops if op in self._needed]
        types = {op: t for op in self.graph.ops if (t := multiplies_in(op, reach)) is not None}
        tables = {
            region.root: found
            for region in regions(needed, self.fetch)
            if (found := tabulated(region, reach[region.root])) is not None
        }
        inner = {op: root for root, t in tables.items() for op in t.region.ops}
        wanted = _wanted(self.graph, types, inner)
        claimed = _claimed(self.graph)
        cells = {
            root: Cells(found, reach[root], root in claimed, wanted, self._count)
            for root, found in tables.items()
        }
        steps: list[Op | Step] = []
        for op in super()._plan():
            if not isinstance(op, Op):
                steps.append(op)
            elif op in inner:
                if inner[op] in cells:
                    steps.append(cells.pop(inner[op]))
            elif isinstance(op, MatMul) and op in types:
                steps.append(Product(op, types[op], wanted.get(op.result)))
            elif isinstance(op, Conv) and op in types:
                steps.append(Convolution(op, types[op], wanted.get(op.result)))
            else:
                steps.append(op)
        return steps

    def _count(self, op: Assume, count: int) -> None:
        self.violations[op] = self.violations.get(op, 0) + count


def _claimed(graph: Graph) -> set[Value]:
    """Values whose types rest on claims of ranges."""
    claimed: set[Value] = set()
    for op in graph.ops:
        if isinstance(op, Assume) or not claimed.isdisjoint(op.operands):
            claimed.update(op.results)
    return claimed


def _wanted(graph: Graph, types: Mapping[Op, Form], inner: Collection[Op]) -> dict[Value, Form]:
    """The type that all readers of a value take it in; no entry where any type serves them all.

    Layers read the type in which they multiply, tables any, and operations that move elements what
    the readers of their result want. All others read 64-bit integers.
    """
    wanted: dict[Value, Form] = {}
    for op in reversed(list(graph.ops)):
        for value in op.operands:
            form = types.get(op)
            if form is None and isinstance(op, Movement):
                if op.result not in wanted:
                    continue
                form = wanted[op.result]
            elif form is None:
                if op in inner:
                    continue
                form = INTEGERS
            wanted[value] = form if wanted.get(value, form) == form else INTEGERS
    return wanted
