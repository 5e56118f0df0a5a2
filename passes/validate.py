"""Translation validation: what a pass promises is held against what it did."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from lutra.ir.core import Graph, Module, Value
from lutra.ir.errors import PipelineError
from lutra.ir.interpreter import Interpreter
from lutra.ir.program import Program
from lutra.ir.types import Array, Int, Tensor
from lutra.passes.base import Context, Contract, Pass
from lutra.passes.instruments import Instrument, Record

EXHAUSTIVE = 4096
"""Input spaces of at most so many points are run through completely."""
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

    Inputs are calibration samples if there are any, else every possible input where there are few,
    else random ones. Samples that leave an assumed range before the pass are left out: what happens
    to them is not promised. Error P010 names the first node whose value differs.

    `comparisons` keeps what was found, by pass.
    """

    samples: int = 16
    seed: int = 0
    comparisons: list[tuple[str, Comparison]] = field(default_factory=list)
    _before: Module | None = field(default=None, repr=False)
    _state: object = field(default=None, repr=False)

    def before(self, item: Pass, module: Module, context: Context) -> None:
        self._before, self._state = module.clone(), _state(module)

    def after(self, record: Record, module: Module, context: Context) -> None:
        if self._before is None or _state(module) == self._state:
            return
        feeds, exhaustive = sample_inputs(self._before, context, self.samples, self.seed)
        old = Program(self._before)
        feeds = _within_ranges(old, feeds)
        count = len(next(iter(feeds.values()))) if feeds else 1
        if not count:
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


def _state(module: Module) -> object:
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
    worst = 0.0
    for a, b in zip(old, new, strict=True):
        if a.shape != b.shape:
            return math.inf
        if not a.size:
            continue
        x, y = a.astype(np.float64), b.astype(np.float64)
        finite = np.isfinite(x)
        if not np.array_equal(x[~finite], y[~finite], equal_nan=True):
            return math.inf
        if finite.any():
            scale = np.abs(x[finite]).max() or 1.0
            worst = max(worst, float(np.abs(x - y)[finite].max() / scale))
    return worst


def sample_inputs(
    module: Module, context: Context, samples: int, seed: int
) -> tuple[dict[str, Array], bool]:
    """Inputs (n, *shape) by name to try a module on, and whether they are all there are."""
    nodes = (module.encode if module.partitioned else module.main).inputs
    if context.samples is not None:
        return {node.name: context.samples[node.name][:samples] for node in nodes}, False
    types = [node.type for node in nodes]
    every = _every_input(types)
    if every is not None:
        return {node.name: array for node, array in zip(nodes, every, strict=True)}, True
    rng = np.random.default_rng(seed)
    feeds: dict[str, Array] = {}
    for node in nodes:
        shape = (samples, *node.type.shape)
        if isinstance(node.type, Int):
            feeds[node.name] = rng.integers(node.type.min, node.type.max, shape, endpoint=True)
        else:
            feeds[node.name] = rng.normal(size=shape).astype(node.type.dtype)
    return feeds, False


def _every_input(types: list[Int | Tensor]) -> list[Array] | None:
    """All combinations of integer inputs, where there are few."""
    axes: list[range] = []
    for type in types:
        if not isinstance(type, Int) or len(axes) + type.size > EXHAUSTIVE:
            return None
        axes += [range(type.min, type.max + 1)] * type.size
        if math.prod(map(len, axes)) > EXHAUSTIVE:
            return None
    points = np.array(list(itertools.product(*axes)), dtype=np.int64)
    arrays, start = [], 0
    for type in types:
        assert isinstance(type, Int)
        arrays.append(points[:, start : start + type.size].reshape(len(points), *type.shape))
        start += type.size
    return arrays


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
