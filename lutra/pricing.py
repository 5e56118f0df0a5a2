"""What a model or circuit will cost, predicted without compiling it for the backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lutra.backends import registry
from lutra.backends.base import Backend, Pricing
from lutra.ir.core import Graph, Module, Op
from lutra.ir.errors import InputError
from lutra.model import Model
from lutra.passes.base import PlainPrices, Prices


@dataclass(frozen=True)
class Share:
    """Part of a price: an operation that bootstraps, and what it costs."""

    op: Op
    price: float

    @property
    def names(self) -> tuple[str, ...]:
        """The ONNX nodes that the operation computes."""
        return self.op.loc

    def __str__(self) -> str:
        return f"{self.price:12.3g}  {self.op.opname}  {', '.join(self.names)}"


@dataclass(frozen=True)
class Price:
    """A predicted price of one sample, in the backend's unit.

    total: all of it; infinite where the backend would find no parameters.
    p_error: chance that one look-up is off.
    strategy: which look-ups share parameters.
    shares: what each operation that bootstraps costs, in order.
    """

    total: float
    p_error: float
    strategy: str
    shares: tuple[Share, ...]

    @property
    def seconds(self) -> float:
        """Predicted seconds for one sample on this machine.

        The machine's speed is measured when this is first asked for, by running a small circuit.
        """
        from lutra.speed import price_per_second

        return self.total / price_per_second()

    def __float__(self) -> float:
        return self.total

    def __str__(self) -> str:
        """One line, and one for each operation that bootstraps."""
        head = f"{self.total:.3g} a sample, at p_error {self.p_error:.3g}, `{self.strategy}`"
        return "\n".join([head, *map(str, self.shares)])


def price(
    model: Model | Module | Graph,
    *,
    backend: str | None = None,
    p_error: float | None = None,
    global_p_error: float | None = None,
    strategy: str | None = None,
) -> Price:
    """Predict the price of one encrypted sample, in milliseconds and to a few per cent.

    model: a compiled model, a module that is split into its parts, or a circuit.
    backend: by default the model's, else `concrete`.
    p_error, global_p_error, strategy: as options of the backend; by default those that the model
        was compiled with.

    Errors: I005 for a module without a circuit, a backend that predicts no prices, or an option
    out of range.
    """
    options: dict[str, Any] = dict(model.options) if isinstance(model, Model) else {}
    chosen = registry.find(backend or (model.backend if isinstance(model, Model) else "concrete"))
    if p_error is not None or global_p_error is not None:
        options.update(p_error=p_error, global_p_error=global_p_error)
    if strategy is not None:
        options["strategy"] = strategy
    if not isinstance(chosen, Pricing):
        raise InputError("I005", f"backend `{chosen.name}` predicts no prices")
    found = chosen.price_of(_circuit(model), **options)
    shares = tuple(Share(cost.op, cost.price) for cost in found.ops)
    return Price(found.total, found.p_error, found.strategy, shares)


def _circuit(model: Model | Module | Graph) -> Graph:
    if isinstance(model, Graph):
        return model
    module = model.module if isinstance(model, Model) else model
    if not isinstance(module, Module):
        raise InputError(
            "I005",
            f"{type(model).__name__} is no compiled model, module or circuit",
            help="compile the model first: lutra.price(lutra.compile(...))",
        )
    if not module.partitioned:
        raise InputError(
            "I005",
            "a module that is not split into encode, circuit and decode has no price",
            help="compile it, or end its pipeline with `partition`",
        )
    return module.circuit


def prices_for(backend: Backend, options: Mapping[str, Any]) -> Prices:
    """What passes may ask about prices, for a backend and the options it will be given."""
    return BackendPrices(backend, options) if isinstance(backend, Pricing) else PlainPrices()


@dataclass(frozen=True)
class BackendPrices:
    """A backend's own predictions, for circuits emitted with these options."""

    backend: Pricing
    options: Mapping[str, Any]

    def circuit(self, circuit: Graph) -> float:
        return self.backend.price_of(circuit, **self.options).total

    def look_up(self, bits: int, growth: float = 1.0) -> float:
        return self.backend.look_up_price(bits, growth, **self.options)
