"""How much the elements of values inside a graph matter for its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lutra.ir.core import Graph, Op, Value
from lutra.ir.interpreter import Interpreter
from lutra.ir.traits import WEIGHTED
from lutra.ir.types import Array
from lutra.passes.cut_out import cut_out
from lutra.passes.flow import is_constant, is_onnx

PROBES = 64
"""Samples on which it is measured how much an element matters for the results."""
LEAST = 0.01
"""What an element matters at least, as a share of the one that matters most."""
STEP = 0.1
"""How far elements are moved for that, in standard deviations."""


def rows_of(array: Array) -> Array:
    """Values (samples, *shape) as real numbers [samples, elements]."""
    return array.reshape(len(array), -1).astype(np.float64)


def importance(graph: Graph, values: Sequence[Value], feeds: Mapping[str, Array]) -> Array:
    """How much the results move with each element of some values, relative to their spread.

    Results are those of the last linear operations: what comes behind them is the client's. Root
    of the mean square, by finite differences.
    """
    ends = _ends(graph)
    spread = sum(
        float(rows_of(array).var(0).sum()) for array in Interpreter(graph, ends).run(feeds)
    )
    probes = {name: array[:PROBES] for name, array in feeds.items()}
    found = [_effect(graph, value, ends, probes) for value in values]
    moved = np.sqrt(np.concatenate(found) / (spread or 1.0))
    return np.asarray(np.maximum(moved, LEAST * (moved.max() or 1.0)))


def _effect(
    graph: Graph, value: Value, ends: Sequence[Value], probes: Mapping[str, Array]
) -> Array:
    """Mean squared change of all results, for a step of 1 in each element of a value."""
    others = _beside(graph, value, ends)
    rest = cut_out(graph, [value, *others], ends)
    base, *given = Interpreter(graph, [value, *others]).run(probes)
    before = np.concatenate([rows_of(array) for array in rest.run([base, *given])], 1)
    found = np.zeros(value.size)
    steps = STEP * rows_of(base).std(0)
    for element in np.flatnonzero(steps):
        moved = base.reshape(len(base), -1).copy()
        moved[:, element] += steps[element].astype(np.float32)
        results = rest.run([moved.reshape(base.shape), *given])
        change = np.concatenate([rows_of(array) for array in results], 1) - before
        found[element] = np.square(change / steps[element]).sum(1).mean()
    return found


def _ends(graph: Graph) -> list[Value]:
    """Results of weighted operations that no further ones read."""
    read: set[Op] = set()
    found = []
    for op in reversed(list(graph.ops)):
        behind = any(user in read for value in op.results for user in value.users)
        weighted = is_onnx(op, *WEIGHTED) and not is_constant(op.results[0])
        if weighted and not behind:
            found.append(op.results[0])
        if weighted or behind:
            read.add(op)
    return found


def _beside(graph: Graph, value: Value, ends: Sequence[Value]) -> list[Value]:
    """Encrypted values that the results depend on, but not through `value` alone."""
    moved, found = {value}, dict[Value, None]()
    for op in graph.ops:
        if moved.isdisjoint(op.operands):
            continue
        moved.update(op.results)
        found.update((v, None) for v in op.operands if v not in moved and not is_constant(v))
    found.update((end, None) for end in ends if end not in moved)
    return list(found)
