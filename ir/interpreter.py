"""The reference meaning: runs any graph on many samples at once.

Integer operations run as declared (`Op.eval`), runs of float-level operations in onnxruntime.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Set
from typing import Protocol, TypeAlias

import numpy as np

from lutra.ir import ort
from lutra.ir.core import Graph, Input, Op, Return, Value, dependencies
from lutra.ir.errors import InputError, did_you_mean
from lutra.ir.ops import Assume, Constant, Observe, Onnx
from lutra.ir.types import Array, Int, Tensor


class Step(Protocol):
    """Several operations run as one: reads `inputs`, and gives an array for each of `outputs`."""

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]

    def run(self, arrays: Sequence[Array], samples: int) -> Sequence[Array]: ...


Steps: TypeAlias = Sequence[Op | Step]


class _Segment:
    """Consecutive float-level operations, run as one onnxruntime session."""

    def __init__(self, ops: Sequence[Op], fetch: Set[Value]) -> None:
        own = set(ops)
        inside = {value for op in ops for value in op.results}
        reads = dict.fromkeys(value for op in ops for value in op.operands if value not in inside)
        self.inputs = tuple(reads)
        self.outputs = tuple(
            value
            for op in ops
            for value in op.results
            if value in fetch or not own.issuperset(value._users)
        )
        nodes = [name for op in ops for name in op.loc]
        aside: dict[str, Array] = {}
        model = ort.model_of(ops, self.inputs, self.outputs, aside=aside)
        self._session = ort.Session(model, nodes, aside)

    def run(self, arrays: Sequence[Array], samples: int) -> list[Array]:
        return self._session.run_samples(arrays, samples)


class Interpreter:
    """A graph made ready to run; keep it where the same graph runs more than once.

    fetch: values to return instead of the graph's outputs.
    known: values that every run is given; what only they depend on is not computed.

    `violations` maps each `assume` to the number of elements seen outside its range so far.
    """

    def __init__(
        self,
        graph: Graph,
        fetch: Sequence[Value] | None = None,
        known: Collection[Value] = (),
    ) -> None:
        self.graph = graph
        self.fetch = tuple(graph.outputs if fetch is None else fetch)
        self.violations: dict[Assume, int] = {}
        self._kept = set(self.fetch)
        self._needed = dependencies(self.fetch, known)
        self._steps = self._plan()
        self._last_use: dict[Value, int] = {}
        for index, step in enumerate(self._steps):
            for value in step.operands if isinstance(step, Op) else step.inputs:
                self._last_use[value] = index

    def _plan(self) -> Steps:
        """What to run, in order. A subclass puts steps of its own in place of operations."""
        steps: list[Op | Step] = []
        floats: list[Op] = []

        def flush() -> None:
            if any(isinstance(op, Onnx) for op in floats):
                steps.append(_Segment(floats.copy(), self._kept))
            else:
                steps.extend(floats)
            floats.clear()

        for op in self.graph.ops:
            if op not in self._needed:
                continue
            if isinstance(op, Onnx | Constant | Observe):
                floats.append(op)
            else:
                flush()
                steps.append(op)
        flush()
        return steps

    def run(
        self,
        inputs: Sequence[Array] | Mapping[str, Array],
        known: Mapping[Value, Array] | None = None,
    ) -> tuple[Array, ...]:
        """Run on inputs of shape (samples, *shape), given in order or by name.

        Returns one array (samples, *shape) for each fetched value.
        """
        feeds = self._feeds(inputs)
        counts = {array.shape[0] for array in feeds.values()}
        samples = 0 if 0 in counts else max(counts, default=1)
        values: dict[Value, Array] = {**feeds, **(known or {})}
        for index, step in enumerate(self._steps):
            if not isinstance(step, Op):
                reads = [values[value] for value in step.inputs]
                values.update(zip(step.outputs, step.run(reads, samples), strict=True))
                operands: Sequence[Value] = step.inputs
            elif isinstance(step, Input):
                continue
            else:
                operands = step.operands
                self._eval(step, values)
            for value in operands:
                if self._last_use[value] == index and value not in self._kept:
                    values.pop(value, None)
        return tuple(
            np.broadcast_to(values[value], (samples, *values[value].shape[1:]))
            for value in self.fetch
        )

    def _eval(self, op: Op, values: dict[Value, Array]) -> None:
        if isinstance(op, Return):
            return
        arrays = [values[value] for value in op.operands]
        if isinstance(op, Assume):
            count = op.violations(arrays[0])
            self.violations[op] = self.violations.get(op, 0) + count
        result = self.compute(op, arrays)
        results = result if isinstance(result, tuple) else (result,)
        values.update(zip(op.results, results, strict=True))

    def compute(self, op: Op, operands: Sequence[Array]) -> Array | tuple[Array, ...]:
        """What an operation computes. A subclass that models a machine bends it here."""
        result: Array | tuple[Array, ...] = op.eval(*operands)
        return result

    def _feeds(self, inputs: Sequence[Array] | Mapping[str, Array]) -> dict[Value, Array]:
        nodes = {node.name: node for node in self.graph.inputs}
        if not isinstance(inputs, Mapping):
            if len(inputs) != len(nodes):
                raise InputError("I004", f"{len(inputs)} inputs are given, not {len(nodes)}")
            inputs = dict(zip(nodes, inputs, strict=True))
        unknown = [name for name in inputs if name not in nodes]
        if unknown:
            raise InputError(
                "I004", f"no input {unknown[0]!r}", help=did_you_mean(unknown[0], list(nodes))
            )
        feeds = {}
        for name, node in nodes.items():
            if name in inputs:
                feeds[node.result] = _fed(node, np.asarray(inputs[name]))
            elif node in self._needed:
                raise InputError("I004", f"input {name!r} is missing")
        if len({len(array) for array in feeds.values()} - {1}) > 1:
            counts = ", ".join(f"{len(array)}" for array in feeds.values())
            raise InputError("I001", f"inputs differ in their number of samples: {counts}")
        return feeds


def _fed(node: Input, array: Array) -> Array:
    """An array given for an input, checked and in the input's own data type."""
    if array.ndim == 0 or array.shape[1:] != node.type.shape:
        sizes = "".join(f", {size}" for size in node.type.shape)
        raise InputError(
            "I001", f"input {node.name!r} has shape {array.shape}, not (samples{sizes})"
        )
    dtype = np.dtype(node.type.dtype if isinstance(node.type, Tensor) else "int64")
    if not np.can_cast(array.dtype, dtype, "same_kind"):
        raise InputError("I002", f"input {node.name!r} has data type {array.dtype}, not {dtype}")
    if isinstance(node.type, Int) and array.size:
        lo, hi = array.min(), array.max()
        if lo < node.type.min or hi > node.type.max:
            raise InputError(
                "I002", f"input {node.name!r} reaches [{lo}, {hi}], outside of {node.type}"
            )
    return array.astype(dtype, copy=False)


def evaluate(graph: Graph, inputs: Sequence[Array] | Mapping[str, Array]) -> tuple[Array, ...]:
    """Run a graph once: inputs and results are (samples, *shape)."""
    return Interpreter(graph).run(inputs)
