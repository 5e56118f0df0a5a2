"""Translation validation: what a pass promises is held against what it did."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from lutra.ir.core import Graph, Module, Value
from lutra.ir.errors import PipelineError
from lutra.ir.interpreter import Interpreter
from lutra.ir.program import Program
from lutra.ir.samples import every_input, samples
from lutra.ir.types import Array, Tensor
from lutra.passes.base import Context, Contract, Pass
from lutra.passes.instruments import Instrument, Record

FLOAT_NOISE = 1e-5
"""What onnxruntime may differ by when it runs the same float nodes in other groups."""


@dataclass(frozen=True)
class Comparison:
    """Largest difference of two modules' outputs, relative to the largest output."""

    error: float
    samples: int
    exhaustive: bool


@dataclass
class Validate(Instrument):
    """Runs the module before and after every pass, and holds the difference to its contract.

    Inputs are those given; else calibration samples if there are any, every possible input where
    there are few, or random ones. Samples that leave an assumed range before the pass are left
    out: what happens to them is not promised. Error P010 names the first node whose value differs.

    `comparisons` keeps what was found, by pass; `skipped` the passes before which every sample
    left an assumed range.
    """

    samples: int = 16
    seed: int = 0
    inputs: Mapping[str, Array] | None = None
    comparisons: list[tuple[str, Comparison]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    _before: Module | None = field(default=None, repr=False)
    _state: object = field(default=None, repr=False)

    def before(self, item: Pass, module: Module, context: Context) -> None:
        self._before, self._state = module.clone(), state_of(module)

    def after(self, record: Record, module: Module, context: Context) -> None:
        if self._before is None or state_of(module) == self._state:
            return
        feeds, exhaustive = self._feeds(self._before, context)
        old = Program(self._before)
        feeds = _within_ranges(old, feeds)
        count = len(next(iter(feeds.values()))) if feeds else 1
        if not count:
            self.skipped.append(record.item.name)
            return
        promise = f"pass `{record.item.name}` promises to be {record.item.contract}, but "
        try:
            results = Program(module).run(feeds)
        except Exception as error:  # whatever an operation's meaning raises
            raise PipelineError(
                "P010", f"{promise}what it leaves does not run: {type(error).__name__}: {error}"
            ) from error
        moved = relative_error(old.run(feeds), results)
        self.comparisons.append((record.item.name, Comparison(moved, count, exhaustive)))
        if moved > tolerance(record.item.contract, self._before):
            where = first_divergence(self._before, module, feeds, record.item.contract)
            raise PipelineError(
                "P010",
                f"{promise}moves the outputs by {moved:.3g} of the largest",
                nodes=where.owner.loc if where is not None else (),
                lines=[repr(where.owner)] if where is not None else (),
                help="the values differ from this operation on" if where is not None else "",
            )

    def _feeds(self, module: Module, context: Context) -> tuple[dict[str, Array], bool]:
        if self.inputs is not None:
            return dict(self.inputs), False
        return sample_inputs(module, context, self.samples, self.seed)


def state_of(module: Module) -> object:
    """Changes with the module, whatever a pass says that it changed."""
    return {name: (id(graph), graph.version) for name, graph in module.graphs.items()}


def tolerance(contract: Contract, module: Module) -> float:
    """The difference that a contract allows; floats get onnxruntime's own noise on top."""
    graph = module.decode if module.partitioned else module.main
    floats = any(isinstance(value.type, Tensor) for value in graph.outputs)
    return contract.eps + (FLOAT_NOISE if floats else 0.0)


def relative_error(old: tuple[Array, ...], new: tuple[Array, ...]) -> float:
    """Largest difference relative to the largest finite value of the old outputs."""
    if len(old) != len(new):
        return math.inf
    return max(map(_difference, old, new), default=0.0)


def _difference(a: Array, b: Array) -> float:
    if a.shape != b.shape or a.dtype != b.dtype:
        return math.inf
    if np.array_equal(a, b):
        return 0.0
    if a.dtype.kind not in "fiub":  # texts
        return math.inf
    x, y = a.astype(np.float64), b.astype(np.float64)
    finite = np.isfinite(x)
    if not np.array_equal(x[~finite], y[~finite], equal_nan=True):
        return math.inf
    x, y = x[finite], y[finite]
    if not x.size or not np.isfinite(y).all():
        return math.inf if x.size else 0.0
    moved = float(np.abs(x - y).max() / (np.abs(x).max() or 1.0))
    # integers beyond 2^53 may differ by less than their floats tell
    return max(moved, sys.float_info.min) if a.dtype.kind in "iu" else moved


def sample_inputs(
    module: Module, context: Context, count: int, seed: int
) -> tuple[dict[str, Array], bool]:
    """Inputs (samples, *shape) by name to try a module on, and whether they are all there are."""
    graph = module.encode if module.partitioned else module.main
    names = [node.name for node in graph.inputs]
    if context.samples is not None:
        return {name: context.samples[name][:count] for name in names}, False
    every = every_input(graph)
    arrays = samples(graph, count, seed) if every is None else every
    return dict(zip(names, arrays, strict=True)), every is not None


def _within_ranges(program: Program, feeds: dict[str, Array]) -> dict[str, Array]:
    """The samples that leave no assumed range."""
    program.run(feeds)
    if not program.violations:
        return feeds
    kept = []
    for index in range(len(next(iter(feeds.values())))):
        before = program.violations
        program.run({name: array[index : index + 1] for name, array in feeds.items()})
        if program.violations == before:
            kept.append(index)
    return {name: array[kept] for name, array in feeds.items()}


def first_divergence(
    old: Module, new: Module, feeds: Mapping[str, Array], contract: Contract
) -> Value | None:
    """The first value of `new` that differs from the value of the same origin and type in `old`."""
    if old.graphs.keys() != new.graphs.keys() or old.partitioned:
        return None
    partners = {_key(value): value for value in _values(old.main)}
    pairs = [(partners[k], v) for v in _values(new.main) if (k := _key(v)) in partners]
    if not pairs:
        return None
    before = Interpreter(old.main, [a for a, _ in pairs]).run(feeds)
    after = Interpreter(new.main, [b for _, b in pairs]).run(feeds)
    for (_, value), a, b in zip(pairs, before, after, strict=True):
        if relative_error((a,), (b,)) > contract.eps + FLOAT_NOISE:
            return value
    return None


def _values(graph: Graph) -> Iterator[Value]:
    for op in graph.ops:
        if op.loc:
            yield from op.results


def _key(value: Value) -> tuple[object, ...]:
    return value.owner.loc, value.owner.opname, value.index, value.shape
