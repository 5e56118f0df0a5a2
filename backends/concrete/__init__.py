"""Circuits on encrypted data, through Concrete (TFHE).

Importing this package does not import Concrete; emitting a circuit does.
"""

from __future__ import annotations

from typing import Any

from lutra.backends.concrete.client import Client
from lutra.backends.concrete.emission import program_of
from lutra.backends.concrete.executable import ConcreteExecutable
from lutra.backends.concrete.limits import LIMITS, price
from lutra.backends.concrete.native import cheapest
from lutra.backends.concrete.options import Options
from lutra.backends.concrete.pricing import OpPrice, Price, predicted, predicted_look_up
from lutra.backends.concrete.server import Server
from lutra.backends.concrete.specification import CLIENT_PARTS, client, server
from lutra.backends.concrete.statistics import OpStatistics, Statistics, statistics_of
from lutra.backends.concrete.transport import Ciphertexts, EvaluationKeys
from lutra.ir.core import Graph

__all__ = [
    "CLIENT_PARTS",
    "Ciphertexts",
    "Client",
    "ConcreteExecutable",
    "EvaluationKeys",
    "OpPrice",
    "OpStatistics",
    "Options",
    "Price",
    "Server",
    "Statistics",
    "client",
    "emit",
    "estimate",
    "limits",
    "look_up_price",
    "name",
    "price",
    "price_of",
    "server",
]

name = "concrete"
limits = LIMITS


def emit(circuit: Graph, **options: Any) -> ConcreteExecutable:
    """The executable of an integer circuit; the options are the fields of `Options`.

    Errors: B002 where the graph is no integer circuit, B004 if there are no parameters for it.
    """
    chosen = Options(**options)
    program = program_of(circuit, chosen.widths)
    return ConcreteExecutable(program, cheapest(program, chosen, library=True), chosen)


def estimate(circuit: Graph, **options: Any) -> Statistics:
    """What `emit` would make of a circuit, without generating its code. Same options and errors."""
    chosen = Options(**options)
    program = program_of(circuit, chosen.widths)
    return statistics_of(program, cheapest(program, chosen, library=False))


def price_of(circuit: Graph, **options: Any) -> Price:
    """Predict the price that `estimate` would find, in milliseconds. Same options; error I005."""
    return predicted(circuit, Options(**options))


def look_up_price(bits: int, growth: float = 1.0, **options: Any) -> float:
    """Predict the price of one look-up that reads `bits` bits, among many of its kind.

    growth: factor on the variance of noise from the look-ups before. Same options as `emit`.
    """
    return predicted_look_up(bits, growth, Options(**options))
