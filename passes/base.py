"""What a pass is: options as dataclass fields, a docstring as specification, a contract."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeAlias

from lutra.ir.analysis import look_ups
from lutra.ir.core import Graph, Module, Value
from lutra.ir.errors import InputError
from lutra.ir.rewriter import Rewriter
from lutra.ir.types import Array
from lutra.passes.rules import RuleLog

Progress: TypeAlias = Callable[[str, int, int], None]
"""progress(what, done, total): called during long steps."""


BATCH = 128
"""Calibration samples that go through a model at once."""


@dataclass(frozen=True)
class Contract:
    """How far results may move: `eps` relative to the largest output."""

    eps: float

    def __str__(self) -> str:
        return {0.0: "exact", math.inf: "lossy"}.get(self.eps, f"within {self.eps:g}")


Exact = Contract(0.0)
"""The same integers or floats for every input."""
Lossy = Contract(math.inf)
"""Results may change; accuracy decides."""


def Within(eps: float) -> Contract:
    """Results move by at most eps, relative to the largest output."""
    return Contract(eps)


@dataclass
class Notes:
    """What a pass leaves for those after it.

    reference: the float graph as `calibrate` saw it.
    reference_values: its values that were quantized, by the origins of what computes them.
    brought: names of the layers whose weights the model itself quantizes.
    choices: what was chosen between alternatives, and why, in words.
    reference_of: its values that dequantized ones of the present graph stand for.
    """

    reference: Graph | None = None
    reference_values: dict[tuple[str, ...], Value] = field(default_factory=dict)
    brought: set[str] = field(default_factory=set)
    reference_of: dict[Value, Value] = field(default_factory=dict)
    choices: list[str] = field(default_factory=list)


class Prices(Protocol):
    """What the circuit will cost, as passes may ask: predictions, quick enough for searches."""

    def circuit(self, circuit: Graph) -> float:
        """Price of one sample; infinite where the backend would find no parameters."""
        ...

    def look_up(self, bits: int, growth: float = 1.0) -> float:
        """Price of one look-up that reads `bits` bits, among many of its kind.

        growth: factor on the variance of noise since the look-ups before: for a layer, the sum of
        its squared integer weights, relative to the square of the rounding step behind it.
        """
        ...


class PlainPrices:
    """Prices where no backend tells its own: twice as much for every bit."""

    def circuit(self, circuit: Graph) -> float:
        return sum(site.count * self.look_up(site.bits) for site in look_ups(circuit))

    def look_up(self, bits: int, growth: float = 1.0) -> float:
        return float(2**bits)


@dataclass(frozen=True)
class Context:
    """What passes may use beside the graph.

    samples: calibration data, one array (samples, *shape) for each graph input, by name.
    lookup_bits, value_bits: the target backend's limits on look-up inputs and on any value.
    prices: what circuits and look-ups will cost on it.
    executor: where passes may compute on parts of the calibration data at once.
    """

    samples: Mapping[str, Array] | None = None
    lookup_bits: int = 16
    value_bits: int = 62
    backend: str = "numpy"
    prices: Prices = field(default=PlainPrices(), repr=False)
    notes: Notes = field(default_factory=Notes, repr=False)
    log: RuleLog = field(default_factory=RuleLog, repr=False)
    progress: Progress = field(default=lambda what, done, total: None, repr=False)
    executor: Executor | None = field(default=None, repr=False)

    def calibration(self, wanted_by: str) -> Mapping[str, Array]:
        """The calibration data, or an error that names the pass in need of them."""
        if self.samples is None:
            raise InputError(
                "C003",
                f"pass `{wanted_by}` needs calibration data",
                help="give some hundred typical inputs: `calibration=` in Python, "
                "`-c FILE.npz:KEY` on the command line",
            )
        counts = {len(array) for array in self.samples.values()} or {0}
        if 0 in counts:
            raise InputError("C001", "the calibration set is empty")
        if len(counts) > 1:
            raise InputError("I001", f"calibration inputs differ in samples: {sorted(counts)}")
        return self.samples

    def batches(self, wanted_by: str) -> Iterator[dict[str, Array]]:
        """The calibration data, some samples at a time."""
        samples = self.calibration(wanted_by)
        total = len(next(iter(samples.values())))
        for start in range(0, total, BATCH):
            self.progress(wanted_by, start, total)
            yield {name: array[start : start + BATCH] for name, array in samples.items()}
        self.progress(wanted_by, total, total)


@dataclass(frozen=True)
class Pass:
    """Base of all passes.

    A subclass is a frozen dataclass. Its fields are its options, its docstring says what it does,
    `name` is its name in pipelines and `contract` what it promises. It overrides `run`, or
    `expand` if it stands for other passes. `requires`, `provides` and `removes` name facts about
    the module (`lutra.passes.ordering.FACTS`), from which a pipeline's order is checked.
    """

    name: ClassVar[str]
    contract: ClassVar[Contract]
    requires: ClassVar[frozenset[str]] = frozenset()
    provides: ClassVar[frozenset[str]] = frozenset()
    removes: ClassVar[frozenset[str]] = frozenset()

    def run(self, graph: Graph, rewriter: Rewriter, context: Context) -> None:
        """Change one graph through the rewriter."""
        raise NotImplementedError(self.name)

    def run_module(self, module: Module, context: Context) -> int:
        """Change a module; returns the number of changes. By default `run` on every graph."""
        changes = 0
        for graph in list(module.graphs.values()):
            rewriter = Rewriter(graph)
            self.run(graph, rewriter, context)
            changes += rewriter.changes
        return changes

    def expand(self) -> Sequence[Pass]:
        """The passes that this one stands for: itself, unless it is a named pipeline."""
        return (self,)

    def decide(self, module: Module, context: Context) -> Sequence[Pass]:
        """The passes that this one stands for on this module, which it leaves as it is.

        That is `expand`, unless the pass chooses by what the module is.
        """
        return self.expand()

    def options(self) -> dict[str, Any]:
        """Options that differ from their defaults."""
        values = ((f.name, getattr(self, f.name), f.default) for f in dataclasses.fields(self))
        return {name: value for name, value, default in values if value != default}


class CircuitPass(Pass):
    """Base of passes that change what is computed under encryption, and leave the client's part."""

    def run_module(self, module: Module, context: Context) -> int:
        rewriter = Rewriter(module.encrypted)
        self.run(module.encrypted, rewriter, context)
        return rewriter.changes
