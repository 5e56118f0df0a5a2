"""Movements in chains of functions: all come first, in one step, at a cost that grows linearly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lutra.ir import ops
from lutra.ir.core import Graph, Value
from lutra.ir.interpreter import evaluate
from lutra.ir.rewriter import Rewriter
from lutra.ir.types import Tensor
from lutra.ir.verifier import verify_graph
from lutra.passes import Context
from lutra.passes.canonicalize import Canonicalize
from lutra.passes.rules import RuleLog

FUNCTIONS = ("Relu", "Tanh")


class Chain:
    """A graph, built node by node: each reads the one before, and constants."""

    def __init__(self, *shape: int) -> None:
        self.graph = Graph()
        self.rewriter = Rewriter(self.graph)
        self.values = [self.rewriter.input("x", Tensor(shape))]

    def put(self, op_type: str, *operands: object, **attrs: Any) -> None:
        """operands: values, and arrays that become constants."""
        others = [
            v if isinstance(v, Value) else self.rewriter.insert(ops.Constant(np.asarray(v))).result
            for v in operands
        ]
        node = ops.Onnx.make(op_type, [self.values[-1], *others], **attrs)
        loc = (f"/{len(self.values)}",)
        self.values.append(self.rewriter.insert(node, loc=loc).result)

    def returning(self, *indices: int) -> Graph:
        self.rewriter.returns([self.values[i] for i in indices or (-1,)])
        return self.graph


def chain(links: int, *results: int) -> Graph:
    """Relu or Tanh, a constant added, and a Transpose or a Reshape, that many times; then Relu."""
    made = Chain(1, 3, 4)
    for link in range(links):
        made.put(FUNCTIONS[link % 2])
        width = made.values[-1].shape[-1]
        made.put("Add", np.arange(width, dtype=np.float32) / 7)
        if link % 2:
            made.put("Transpose", perm=(0, 2, 1))
        else:
            made.put("Reshape", np.array([1, width, 12 // width]))
    made.put("Relu")
    return made.returning(*results)


def canonicalized(graph: Graph) -> RuleLog:
    log = RuleLog()
    Canonicalize().run(graph, Rewriter(graph), Context(log=log))
    verify_graph(graph)
    return log


def kinds(graph: Graph) -> list[str]:
    return [op.op_type for op in graph.of(ops.Onnx)]


X = np.random.default_rng(0).normal(size=(5, 1, 3, 4)).astype(np.float32)


@pytest.mark.parametrize("links", [1, 2, 3, 8])
def test_movements_come_first(links: int) -> None:
    graph = chain(links)
    expected = evaluate(graph, [X])[0]
    canonicalized(graph)
    np.testing.assert_array_equal(evaluate(graph, [X])[0], expected)
    assert {*kinds(graph)[:links]} <= {"Transpose", "Reshape"}
    assert not {*kinds(graph)[links:]} & {"Transpose", "Reshape"}
    locs = [op.loc for op in graph.of(ops.Onnx)]
    assert sorted(locs) == sorted((f"/{i}",) for i in range(1, 3 * links + 2))


def test_firings_do_not_grow_with_the_square() -> None:
    links = 300
    graph = chain(links)
    log = canonicalized(graph)
    assert log.fired["movement_before_elementwise"] == 1
    assert len(kinds(graph)) == 3 * links + 1


def test_a_chain_ends_where_others_read() -> None:
    graph = chain(4, 6, -1)
    expected = evaluate(graph, [X])
    canonicalized(graph)
    for result, wanted in zip(evaluate(graph, [X]), expected, strict=True):
        np.testing.assert_array_equal(result, wanted)
    movements = [kind in ("Transpose", "Reshape") for kind in kinds(graph)]
    assert movements == [True] * 2 + [False] * 4 + [True] * 2 + [False] * 5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Relu Slice", "Slice Relu"),
        ("Relu Transpose", "Relu Transpose"),  # as many look-ups as before
        ("Relu Transpose Slice", "Transpose Slice Relu"),
        ("Relu Slice Transpose", "Slice Relu Transpose"),
        ("Relu Transpose Tanh", "Transpose Relu Tanh"),
        ("Relu Transpose Tanh Transpose", "Transpose Relu Tanh Transpose"),
        ("Relu Expand Tanh", "Relu Tanh Expand"),  # of each element once
        ("Relu Transpose Expand Tanh", "Transpose Relu Tanh Expand"),
    ],
)
def test_what_moves(text: str, expected: str) -> None:
    made = Chain(1, 4, 4)
    for kind in text.split():
        if kind == "Transpose":
            made.put(kind, perm=(0, 2, 1))
        elif kind == "Slice":
            made.put(kind, [0], [2], [1])
        elif kind == "Expand":
            made.put(kind, [2, *made.values[-1].shape[1:]])
        else:
            made.put(kind)
    graph = made.returning()
    x = np.random.default_rng(0).normal(size=(2, 1, 4, 4)).astype(np.float32)
    wanted = evaluate(graph, [x])[0]
    canonicalized(graph)
    assert " ".join(kinds(graph)) == expected
    np.testing.assert_array_equal(evaluate(graph, [x])[0], wanted)


def test_a_function_of_two_values_takes_the_movement_to_both() -> None:
    made = Chain(1, 4)
    y = made.rewriter.input("y", Tensor((1, 4)))
    made.put("Add", y)
    made.put("Slice", [0], [2], [1])
    graph = made.returning()
    x = np.arange(8, dtype=np.float32).reshape(2, 1, 4)
    canonicalized(graph)
    assert kinds(graph) == ["Slice", "Slice", "Add"]
    np.testing.assert_array_equal(evaluate(graph, [x, x])[0], 2 * x[..., :2])
