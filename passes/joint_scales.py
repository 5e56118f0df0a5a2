"""Steps of values that are added up: small integer multiples of one step, for small factors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from lutra.ir.core import Graph, Op, Value
from lutra.ir.ops import Observe, Onnx
from lutra.passes.flow import Flow

LARGEST = 8
"""Largest factor of a value whose step is near the smallest one."""
WIDER = 1.1
"""How much wider than needed a step may become before larger factors are taken instead."""


def joint_steps(graph: Graph, flow: Flow, steps: Mapping[Observe, float]) -> dict[Observe, float]:
    """Steps of those observed values that meet in sums or side by side, none smaller than given.

    A sum of integers of two steps multiplies each by a clear factor, which widens it and the
    look-up that reads it exactly. Among steps in the proportion of small integers the ones are
    taken that widen no value by more than `WIDER`, if there are such.
    """
    found: dict[Observe, float] = {}
    for group in _added_up(graph, flow):
        group = [op for op in group if op in steps]
        if len(group) < 2:
            continue
        factors, unit = proportion([steps[op] for op in group])
        found.update((op, k * unit) for op, k in zip(group, factors, strict=True))
    return found


def proportion(steps: Sequence[float]) -> tuple[list[int], float]:
    """(k, u) with integers k of which k * u >= steps, as little above as small integers allow."""
    sizes = np.asarray(steps, np.float64)
    best: tuple[float, list[int], float] | None = None
    for top in range(1, LARGEST + 1):
        for unit in sorted({float(size / k) for size in sizes for k in range(1, top + 1)}):
            k = np.maximum(1, np.ceil(sizes / unit * (1 - 1e-6))).astype(int)
            if k.min() > top:
                continue
            wider = float((k * unit / sizes).max())
            if best is None or wider < best[0] * (1 - 1e-6):
                best = wider, k.tolist(), unit
        if best is not None and best[0] <= WIDER:
            break
    assert best is not None  # there is the largest step, with factors of 1
    return best[1], best[2]


def _added_up(graph: Graph, flow: Flow) -> Iterator[list[Observe]]:
    """Groups of observed values that meet in sums, or side by side."""
    parent: dict[Observe, Observe] = {}

    def find(op: Observe) -> Observe:
        while parent.setdefault(op, op) is not op:
            op = parent[op]
        return op

    for op, met in _meetings(graph, flow):
        for other in () if flow.is_product(op) else met:
            parent[find(other)] = find(met[0])
    groups: dict[Observe, list[Observe]] = {}
    for observe in parent:
        groups.setdefault(find(observe), []).append(observe)
    return (group for group in groups.values() if len(group) > 1)


def compared(graph: Graph, flow: Flow) -> set[Observe]:
    """The observed values of which maxima are taken."""
    return {value for op, met in _meetings(graph, flow) if flow.picks(op) for value in met}


def multiplied(graph: Graph, flow: Flow) -> set[Observe]:
    """The encrypted ones of the observed values that are multiplied with each other."""
    return {value for op, met in _meetings(graph, flow) if flow.is_squared(op) for value in met}


def _meetings(graph: Graph, flow: Flow) -> Iterator[tuple[Op, list[Observe]]]:
    """Operations that move, pick, add up or multiply, with the observed values that meet there."""
    behind: dict[Value, list[Observe]] = {}
    for op in graph.ops:
        met: list[Observe] = []
        if isinstance(op, Observe):
            met = [op]
        elif _is_sum(op, flow) or flow.is_movement(op) or flow.is_product(op):
            met = list(dict.fromkeys(o for v in op.operands for o in behind.get(v, ())))
            yield op, met
            if flow.is_product(op):
                met = []
        behind.update((value, met) for value in op.results)


def _is_sum(op: Op, flow: Flow) -> bool:
    return isinstance(op, Onnx) and op.op_type in ("Add", "Sub") and flow.is_linear(op)
