"""Inputs to try graphs on: all there are, or some."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lutra.ir.core import Graph, Value
from lutra.ir.interpreter import Interpreter
from lutra.ir.ops import Assume
from lutra.ir.types import Array, Int, Tensor

EXHAUSTIVE = 4096
"""Input spaces of at most so many points are gone through completely."""


def samples(graph: Graph, count: int = 16, seed: int = 0) -> list[Array]:
    """For each input `count` samples: the ends of its range, then random ones; (count, *shape)."""
    rng = np.random.default_rng(seed)
    made: list[Array] = []
    for node in graph.inputs:
        shape = (count, *node.type.shape)
        if isinstance(node.type, Tensor):
            made.append(rng.normal(0, 2, shape).astype(node.type.dtype))
        else:
            x = rng.integers(node.type.min, node.type.max, shape, endpoint=True)
            x[:1], x[1:2] = node.type.min, node.type.max
            made.append(x)
    return made


def every_input(graph: Graph, at_most: int = EXHAUSTIVE) -> list[Array] | None:
    """For each input all combinations of all inputs' values; None where there are more.

    Floats have too many values.
    """
    types = [node.type for node in graph.inputs]
    sizes = [math.prod(type.shape) for type in types]
    spans = [type.max - type.min + 1 for type in types if isinstance(type, Int)]
    if len(spans) < len(types):
        return None
    elements = [(n, span) for n, span in zip(sizes, spans, strict=True) if n and span > 1]
    if sum(n * math.log2(span) for n, span in elements) > math.log2(at_most) + 1e-9:
        return None
    axes = [span for n, span in zip(sizes, spans, strict=True) for _ in range(n)]
    # one column of digits for each element, the last one counting fastest
    points = np.arange(math.prod(axes))[:, None]
    weights = np.cumprod([1, *axes[:0:-1]])[::-1] if axes else np.ones(0)
    digits = (points // weights.astype(np.int64)) % np.array(axes, dtype=np.int64)
    parts = np.split(digits, np.cumsum(sizes)[:-1], axis=1) if types else []
    return [
        part.reshape(len(points), *type.shape) + type.min
        for part, type in zip(parts, types, strict=True)
        if isinstance(type, Int)
    ]


def run_all(graph: Graph, inputs: Sequence[Array]) -> tuple[dict[Value, Array], Array]:
    """Every value of a graph by sample, and which samples (bool) leave no assumed range."""
    values = [value for op in graph.ops for value in op.results]
    results = dict(zip(values, Interpreter(graph, values).run(inputs), strict=True))
    count = max((len(array) for array in inputs), default=1)
    kept = np.ones(count, dtype=bool)
    for op in graph.of(Assume):
        x = results[op.x]
        outside = (x < op.lo) | (x > op.hi)
        kept &= ~outside.reshape(len(x), -1).any(1)
    return results, kept
