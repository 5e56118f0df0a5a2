"""Pass `place-lookups`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lutra.ir.core import Graph
from lutra.ir.errors import VerifyError
from lutra.ir.ops import Lookup
from lutra.ir.rewriter import Rewriter
from lutra.passes.base import CircuitPass, Context, Exact
from lutra.passes.placement import behind, cheapest, place
from lutra.passes.refresh import RefreshNoise


@dataclass(frozen=True)
class PlaceLookUps(CircuitPass):
    """Move look-ups behind movements, maxima and into other look-ups, where that costs less.

        max(lookup(x, t), lookup(y, t))    ->    lookup(max(x, y), t)    for t that does not fall
        move(lookup(x, t))                 ->    lookup(move(x), t)
        lookup(lookup(x, t), u)            ->    lookup(x, u[t])         also where others read it

    Before a maximum a look-up may narrow what is compared; behind, fewer elements are left. For
    each look-up the cheapest places are a minimum cut, of elements times the prices of the bits
    that are read (`lutra.passes.placement`). It is made where the whole circuit becomes cheaper,
    since noise and shared parameters count there, too.
    """

    name = "place-lookups"
    contract = Exact

    def run(self, graph: Graph, rewriter: Rewriter, context: Context) -> None:
        price: float | None = None
        for op in list(graph.of(Lookup)):
            if op.graph is not graph:
                continue
            region = behind(op, graph)
            if not region.look_ups and (len(region.rows) == 1 or not region.read):
                continue  # there is no other place, or nothing reads what it gives
            raw = cheapest(region, context)
            if not raw.intersection([*list(region.rows)[1:], *region.look_ups]):
                continue
            price = _refreshed_price(graph.clone(), context) if price is None else price
            found = _price_after(op, graph, context)
            if found < price:
                place(region, raw, rewriter)
                price = found


def _price_after(op: Lookup, graph: Graph, context: Context) -> float:
    """What the circuit costs if one look-up is placed anew; infinite where ranges do not fit."""
    twin = graph.clone()
    copy = dict(zip(graph.ops, twin.ops, strict=True))[op]
    assert isinstance(copy, Lookup)
    region = behind(copy, twin)
    try:
        place(region, cheapest(region, context), Rewriter(twin))
    except VerifyError:
        return math.inf
    return _refreshed_price(twin, context)


def _refreshed_price(twin: Graph, context: Context) -> float:
    """Price of a circuit whose maxima are looked up once more, where `refresh` will do so."""
    RefreshNoise().run(twin, Rewriter(twin), context)
    return context.prices.circuit(twin)
