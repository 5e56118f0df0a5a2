"""How large values can become, whatever `assume` claims."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from lutra.ir import ops
from lutra.ir.core import Graph, Input, Op, Value
from lutra.ir.ops.movement import Movement
from lutra.ir.types import Ints, largest

UNKNOWN = 2**63
"""The reach of what an operation gives that is not in the table below."""


def reaches(graph: Graph) -> dict[Value, int]:
    """A bound on the magnitude of each value of an integer graph, for all inputs in their ranges.

    Types take `assume` at its word; what leaves the range that it claims is covered here as well.
    """
    found: dict[Value, int] = {}
    for op in graph.ops:
        bound = REACH.get(type(op), _unknown)
        known = [found[value] for value in op.operands]
        reach = min(bound(op, *known), UNKNOWN) if known or isinstance(op, Input) else UNKNOWN
        found.update(dict.fromkeys(op.results, reach))
    return found


def _unknown(op: Op, *xs: int) -> int:
    return max(xs) if isinstance(op, Movement) else UNKNOWN


def _input(op: Input) -> int:
    return max(-op.result.int_type.min, op.result.int_type.max)


def _outputs(w: Ints, axes: tuple[int, ...]) -> int:
    """The largest sum of magnitudes of weights over some axes; at most twice that in huge sums."""
    sums = float(np.abs(w).astype(np.float64).sum(axes).max(initial=0))
    return int(sums) if sums < 2**53 else 2 * int(sums)


REACH: dict[type[Op], Callable[..., int]] = {
    Input: _input,
    ops.Assume: lambda op, x: x,
    ops.Neg: lambda op, x: x,
    ops.Add: lambda op, x, y: x + y,
    ops.Sub: lambda op, x, y: x + y,
    ops.AddClear: lambda op, x: x + int(largest(op.c)),
    ops.MulClear: lambda op, x: x * int(largest(op.c)),
    ops.Halve: lambda op, x: (x + 1) // 2,
    ops.Sum: lambda op, x: x * math.prod(op.x.shape) // max(1, math.prod(op.result.shape)),
    ops.MatMul: lambda op, x: x * _outputs(op.w, (-2,)),
    ops.MatMulValues: lambda op, x, y: x * y * op.x.shape[-1],
    ops.Conv: lambda op, x: x * _outputs(op.w, tuple(range(1, op.w.ndim))),
    ops.Round: lambda op, x: (x + (1 << op.lsbs - 1)) // (1 << op.lsbs),
    ops.Lookup: lambda op, x: int(largest(op.table)),
    ops.Max: lambda op, x, y: max(x, y),
    ops.Mul: lambda op, x, y: x * y,
    ops.Pad: lambda op, x: max(x, abs(op.value)),
}
