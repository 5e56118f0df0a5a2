"""Small float networks built straight into the IR."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lutra.ir.core import Graph, Module, Value
from lutra.ir.ops import Constant, Onnx
from lutra.ir.rewriter import Rewriter
from lutra.ir.types import Array, Shape, Tensor


class Net:
    """Builds a graph node by node; arrays become constants, nodes are named by their number.

    clear: names of inputs that are so.
    """

    def __init__(self, seed: int = 0, clear: Collection[str] = (), **inputs: Shape) -> None:
        self.graph = Graph()
        self.rewriter = Rewriter(self.graph)
        self.rng = np.random.default_rng(seed)
        self.x = [
            self.rewriter.input(name, Tensor(shape), clear=name in clear)
            for name, shape in inputs.items()
        ]
        self.nodes = 0

    def add(self, op_type: str, *inputs: Value | ArrayLike | None, **attrs: Any) -> Value:
        """The first result of a new node `op_type/<number>`."""
        return self.node(op_type, *inputs, **attrs).results[0]

    def node(self, op_type: str, *inputs: Value | ArrayLike | None, **attrs: Any) -> Onnx:
        values = [x if isinstance(x, Value | None) else self.clear(np.asarray(x)) for x in inputs]
        return self._insert(Onnx.make(op_type, values, **attrs))

    def split(self, x: Value, parts: Sequence[int], axis: int) -> tuple[Value, ...]:
        shapes = [(*x.shape[:axis], size, *x.shape[axis + 1 :]) for size in parts]
        types = tuple(Tensor(shape) for shape in shapes)
        inputs = (x, self.clear(np.array(parts)))
        return self._insert(Onnx(inputs, "Split", types, {"axis": axis})).results

    def _insert(self, node: Onnx) -> Onnx:
        self.nodes += 1
        return self.rewriter.insert(node, loc=(f"{node.op_type}/{self.nodes}",))

    def clear(self, array: Array) -> Value:
        return self.rewriter.insert(Constant(array)).result

    def weights(self, *shape: int, terms: int = 1) -> Array:
        """Normal numbers that keep a sum of so many terms near its terms' size."""
        return (self.rng.normal(size=shape) / math.sqrt(terms)).astype(np.float32)

    def positive(self, *shape: int) -> Array:
        return self.rng.uniform(0.5, 2.0, shape).astype(np.float32)

    def conv(self, x: Value, channels: int, kernel: Shape, group: int = 1, **attrs: Any) -> Value:
        """Conv with a bias."""
        terms = x.shape[1] // group * math.prod(kernel)
        w = self.weights(channels, x.shape[1] // group, *kernel, terms=terms)
        return self.add("Conv", x, w, self.weights(channels), group=group, **attrs)

    def dense(self, x: Value, columns: int) -> Value:
        """Gemm with a bias."""
        rows = x.shape[-1]
        return self.add("Gemm", x, self.weights(rows, columns, terms=rows), self.weights(columns))

    def batch_norm(self, x: Value) -> Value:
        c = x.shape[1]
        numbers = (self.positive(c), self.weights(c), self.weights(c), self.positive(c))
        return self.add("BatchNormalization", x, *numbers)

    def returns(self, *values: Value) -> Module:
        self.rewriter.returns(values, [f"y{i}" for i in range(len(values))])
        return Module([self.graph])

    def samples(self, count: int, seed: int = 1) -> dict[str, Array]:
        rng = np.random.default_rng(seed)
        return {
            node.name: rng.normal(size=(count, *node.type.shape)).astype(np.float32)
            for node in self.graph.inputs
        }
