"""Pass `refresh`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lutra.ir.core import Graph, Value
from lutra.ir.ops import Lookup, Max, Movement, Round
from lutra.ir.rewriter import Rewriter
from lutra.passes.base import CircuitPass, Context, Exact


@dataclass(frozen=True)
class RefreshNoise(CircuitPass):
    """Look values up once more, unchanged, where that makes the circuit cheaper.

        matmul(max(x, y))    ->    matmul(lookup(max(x, y), [0 1 2 ...]))

    A bootstrap's result has little noise, whatever its input has. What a maximum gives carries
    that of all that it is made of: where a layer of large weights reads it, each of these must be
    so exact that the layer's result can still be read. Looked up once more, the few values that
    the layer reads are exact by themselves, and the many before may use smaller parameters. What
    maxima lead to is tried, one after the other, and the price of the whole circuit decides.
    """

    name = "refresh"
    contract = Exact

    def run(self, graph: Graph, rewriter: Rewriter, context: Context) -> None:
        price = context.prices.circuit(graph)
        for value in list(_noisy(graph)):
            twin = graph.clone()
            position = list(graph.ops).index(value.owner)
            _look_up(list(twin.ops)[position].result, Rewriter(twin))
            found = context.prices.circuit(twin)
            if found < price:
                _look_up(value, rewriter)
                price = found


def _noisy(graph: Graph) -> Iterator[Value]:
    """Results of maxima that others than maxima and look-ups read."""
    return (op.result for op in graph.of(Max) if not _is_bootstrapped(op.result))


def _is_bootstrapped(value: Value) -> bool:
    return all(
        isinstance(user, Lookup | Max)
        or (isinstance(user, Movement | Round) and _is_bootstrapped(user.result))
        for user in value.users
    )


def _look_up(value: Value, rewriter: Rewriter) -> None:
    """Let all that reads a value read it looked up."""
    type = value.int_type
    table = type.min + np.arange(1 << max(1, type.span_bits))
    look_up = rewriter.insert_after(value, Lookup(value, type.min, table))
    readers = [user for user in value.users if user is not look_up]
    rewriter.replace_uses(value, look_up.result, only=readers)
