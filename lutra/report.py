"""What a circuit costs, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from lutra.backends import registry
from lutra.backends.base import Pricing
from lutra.ir.analysis import LookUpSite, look_ups
from lutra.ir.core import Graph, Module, Op
from lutra.ir.errors import BackendError
from lutra.ir.ops import Lookup, Max, Onnx, Round, constant_of
from lutra.ir.types import Array, Int

if TYPE_CHECKING:
    from rich.box import Box
    from rich.console import RenderableType
    from rich.table import Table

    from lutra.model import Model

NAMES = 2
"""ONNX names shown for one layer; `Layer.names` has all."""

WIDTH = 160
"""Columns of a report that is printed as a string."""

NO_LOOK_UPS = "no look-ups: the circuit is linear"


class OpCost(Protocol):
    """What one operation of the circuit costs."""

    @property
    def op(self) -> Op: ...

    @property
    def price(self) -> float: ...


class Costs(Protocol):
    """What a backend says of a whole circuit."""

    @property
    def ops(self) -> Sequence[OpCost]: ...


@runtime_checkable
class Priced(Protocol):
    """An executable that knows the price of each operation."""

    @property
    def costs(self) -> Costs: ...


@dataclass(frozen=True)
class Layer:
    """One operation that bootstraps.

    names: of the ONNX nodes that it computes.
    type: what it reads, before any rounding.
    rounded: bits that rounding leaves, None where nothing is rounded; `exact` says how.
    pbs: programmable bootstraps of one sample.
    price: in the backend's unit; None where the backend gives none.
    """

    names: tuple[str, ...]
    type: Int
    rounded: int | None
    exact: bool
    pbs: int
    price: float | None

    @property
    def label(self) -> str:
        shown = " + ".join(self.names[:NAMES]) or "(unnamed)"
        more = len(self.names) - NAMES
        return f"{shown} + {more} more" if more > 0 else shown

    @property
    def rounding(self) -> str:
        if self.rounded is None:
            return "-"
        return f"to {self.rounded} bits" + (", exact" if self.exact else "")


@dataclass(frozen=True)
class Report:
    """What a model costs; prints as a table, also through rich.

    statistics: what the backend says of the whole circuit, empty where it says nothing.
    choices: what the pipeline chose between alternatives, and why.
    note: why prices are missing, if they are.
    clear: names of the inputs that the server sees.
    client: what the client computes with weights of its own, before encryption and after it.
    """

    title: str
    layers: tuple[Layer, ...]
    pipeline: str
    backend: str
    p_error: float
    statistics: Mapping[str, Any]
    note: str = ""
    choices: tuple[str, ...] = ()
    clear: tuple[str, ...] = ()
    client: tuple[str, ...] = ()

    @classmethod
    def of(cls, model: Model, *, price: bool = True) -> Report:
        """The report of a model. With `price`, the circuit is emitted if it is not yet."""
        prices, statistics, note = prices_of(model) if price else ({}, {}, _prospect(model))
        return cls(
            title=str(model.signature),
            layers=tuple(layers_of(model.module.circuit, prices)),
            pipeline=model.pipeline,
            backend=model.backend,
            p_error=statistics.get("p_error", model.p_error),
            statistics=statistics,
            note=note,
            choices=model.choices,
            clear=tuple(port.name for port in model.signature.inputs if port.clear),
            client=tuple(weighted(model.module)),
        )

    @property
    def pbs(self) -> int:
        """Programmable bootstraps of one sample."""
        return sum(layer.pbs for layer in self.layers)

    @property
    def price(self) -> float | None:
        """Price of one sample, None where the backend gives none."""
        return self.statistics.get("price")

    def table(self, box: Box | None = None) -> Table:
        """The layers, one a row, and their total."""
        from rich.box import ROUNDED
        from rich.table import Table
        from rich.text import Text

        priced = any(layer.price is not None for layer in self.layers)
        table = Table(box=box or ROUNDED)
        for name in ("layer", "range", "bits", "rounding", "PBS", *(["price", "share"] * priced)):
            table.add_column(
                name,
                justify="left" if name in ("layer", "rounding") else "right",
                overflow="fold" if name == "layer" else "ellipsis",
                no_wrap=name != "layer",
            )
        total = sum(layer.price or 0.0 for layer in self.layers)
        for layer in self.layers:
            row = [
                f"{layer.type.min} .. {layer.type.max}",
                str(layer.type.bits),
                layer.rounding,
                str(layer.pbs),
            ]
            if priced:
                row += [f"{layer.price or 0.0:.3g}", f"{(layer.price or 0.0) / (total or 1):.0%}"]
            table.add_row(Text(layer.label), *row)  # names may look like markup
        if box is None:
            table.add_section()
        table.add_row("total", "", "", "", str(self.pbs), *([f"{total:.3g}", "100%"] * priced))
        return table

    def lines(self) -> list[str]:
        """What stands below the table."""
        found = [f"pipeline  {self.pipeline}", f"backend   {self.backend}"]
        found += [f"chosen    {choice}" for choice in self.choices]
        found += [f"clear     {', '.join(self.clear)}: not encrypted"] * bool(self.clear)
        found += [f"client    has the weights of {', '.join(self.client)}"] * bool(self.client)
        if not self.layers:
            return found + [self.note] * bool(self.note)
        found.append(f"p_error   {self.p_error:.2g} for each look-up")
        if "global_p_error" in self.statistics:
            found[-1] += f", {self.statistics['global_p_error']:.2g} for any in a sample"
        keys = [f"{kind}_key_bytes" for kind in ("bootstrap", "keyswitch")]
        if all(name in self.statistics for name in keys):
            size = sum(self.statistics[name] for name in keys)
            found.append(f"keys      {size / 1e6:.0f} MB in memory")
        return found + [self.note] * bool(self.note)

    def data(self) -> dict[str, Any]:
        """The same as values that JSON knows."""
        layers = [
            {
                "nodes": list(layer.names),
                "range": [layer.type.min, layer.type.max],
                "bits": layer.type.bits,
                "rounded_to_bits": layer.rounded,
                "rounded_exactly": layer.exact,
                "pbs": layer.pbs,
                "price": layer.price,
            }
            for layer in self.layers
        ]
        return {
            "signature": self.title,
            "pipeline": self.pipeline,
            "choices": list(self.choices),
            "clear": list(self.clear),
            "client": list(self.client),
            "backend": self.backend,
            "p_error": self.p_error,
            "pbs": self.pbs,
            "price": self.price,
            "layers": layers,
            "statistics": dict(self.statistics),
            "note": self.note,
        }

    def _repr_html_(self) -> str:
        from lutra.page.templates import render

        return render("layers.html", report=self, linear=NO_LOOK_UPS)

    def __rich__(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        body = self.table() if self.layers else Text(NO_LOOK_UPS)
        return Group(Text(self.title), body, *(Text(line) for line in self.lines()))

    def __str__(self) -> str:
        """The same in plain letters, the table as Markdown has it."""
        from rich.box import MARKDOWN
        from rich.console import Console

        body = [NO_LOOK_UPS]
        if self.layers:
            console = Console(width=WIDTH, color_system=None)
            with console.capture() as capture:
                console.print(self.table(MARKDOWN))
            body = [line.rstrip() for line in capture.get().splitlines() if line.strip()]
        return "\n".join([self.title, "", *body, "", *self.lines()])


def weighted(module: Module) -> Iterator[str]:
    """Operators with constants of more than one axis in the client's parts, which it gets to know.

    Such as a recurrent layer before the first encrypted one.
    """
    for name in ("encode", "decode"):
        for op in module.graphs[name].of(Onnx):
            arrays = (constant_of(value) for value in op.operands)
            if any(array is not None and _varies_by_two(array) for array in arrays):
                yield " ".join([op.op_type, *op.loc[:1]])


def _varies_by_two(array: Array) -> bool:
    return sum(size > 1 for size in array.shape) > 1


def _prospect(model: Model) -> str:
    """A word of warning where the backend's own prediction is that it finds no parameters."""
    backend = registry.find(model.backend)
    if not isinstance(backend, Pricing):
        return ""
    if math.isfinite(backend.price_of(model.module.circuit, **model.options).total):
        return ""
    return (
        f"backend `{model.backend}` will find no parameters: this circuit predicts, but cannot "
        "encrypt. Fewer bits, such as default{rounding=5}, or a higher p_error may help"
    )


def layers_of(circuit: Graph, prices: Mapping[Op, float]) -> Iterator[Layer]:
    """The operations that bootstrap, in order."""
    for site in look_ups(circuit):
        rounds = site.bits < site.rounded_from
        yield Layer(
            site.op.loc,
            _read(site.op),
            site.bits if rounds else None,
            rounds and site.exact,
            bootstraps(site),
            prices.get(site.op),
        )


def bootstraps(site: LookUpSite) -> int:
    """Programmable bootstraps of one sample; exact rounding adds one for each bit it drops."""
    source = site.op.x.owner if isinstance(site.op, Lookup) else None
    drops = source.lsbs if isinstance(source, Round) and source.exact else 0
    return site.count * (1 + drops)


def _read(op: Op) -> Int:
    """Type of what the table look-ups of an operation read, before any rounding."""
    if isinstance(op, Max):
        return op.difference()
    source = op.operands[0].owner
    return (source.x if isinstance(source, Round) else op.operands[0]).int_type


def prices_of(model: Model) -> tuple[dict[Op, float], dict[str, Any], str]:
    """Prices by operation, what the backend says of the whole circuit, or why there are none."""
    try:
        statistics = model.circuit_statistics()
    except BackendError as error:
        return {}, {}, f"no prices: error[{error.code}]: {error.message}"
    executable = model.executable
    if not isinstance(executable, Priced):
        return {}, statistics, ""
    return {cost.op: cost.price for cost in executable.costs.ops}, statistics, ""
