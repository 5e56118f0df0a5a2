"""A part of a graph by itself, to be run on values put in its place."""

from __future__ import annotations

from collections.abc import Sequence

from lutra.ir.core import Graph, Value, dependencies
from lutra.ir.interpreter import Interpreter
from lutra.ir.rewriter import Rewriter


def cut_out(graph: Graph, inputs: Sequence[Value], outputs: Sequence[Value]) -> Interpreter:
    """Runs what computes `outputs` from `inputs`, given in this order; all else it reads is clear.

    The part is a copy: it stays the same when the graph changes.
    """
    part = Graph()
    rewriter = Rewriter(part)
    twins = {value: rewriter.input(f"x{i}", value.type) for i, value in enumerate(inputs)}
    needed = dependencies(outputs, twins)
    for op in graph.ops:
        if op in needed:
            twin = rewriter.insert(op.copy(twins), loc=op.loc)
            twins.update(zip(op.results, twin.results, strict=True))
    rewriter.returns([twins[value] for value in outputs])
    return Interpreter(part)
