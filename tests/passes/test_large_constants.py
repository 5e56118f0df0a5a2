"""Weights of hundreds of megabytes: transposed, folded and compared without copies."""

from __future__ import annotations

import numpy as np

from lutra.ir import ops, ort
from lutra.ir.core import Graph, Value
from lutra.ir.interpreter import evaluate
from lutra.ir.keys import key_of
from lutra.ir.rewriter import Rewriter
from lutra.ir.types import Array, Tensor, sealed
from lutra.ir.verifier import verify_graph
from lutra.passes import Context
from lutra.passes.canonicalize import Canonicalize
from lutra.passes.cse import EliminateCommonSubexpressions

SIZE = 40
"""Squared, it counts more elements than a large constant has at least."""


def weights() -> Array:
    return sealed(np.arange(SIZE * SIZE, dtype=np.float32).reshape(SIZE, SIZE) / SIZE)


def graph_of(*arrays: Array, op_type: str = "Gemm", **attrs: int) -> Graph:
    """The nodes of one input and each of the arrays, all of them results."""
    graph = Graph()
    rewriter = Rewriter(graph)
    x = rewriter.input("x", Tensor((1, SIZE)))
    results: list[Value] = []
    for array in arrays:
        w = rewriter.insert(ops.Constant(array)).result
        node = ops.Onnx.make(op_type, [x, w], **attrs)
        results.append(rewriter.insert(node, loc=(f"/layer{len(results)}",)).result)
    rewriter.returns(results)
    return graph


def test_transposed_weights_are_views() -> None:
    w = weights()
    graph = graph_of(w, transB=1)
    Canonicalize().run(graph, Rewriter(graph), Context())
    verify_graph(graph)
    (constant,) = graph.of(ops.Constant)
    np.testing.assert_array_equal(constant.value, w.T)
    assert np.shares_memory(constant.value, w)


def test_a_view_runs_and_is_held_in_order_from_then_on() -> None:
    w = weights()
    graph = graph_of(w.T, op_type="MatMul")
    x = np.linspace(-1, 1, 3 * SIZE, dtype=np.float32).reshape(3, 1, SIZE)
    np.testing.assert_allclose(evaluate(graph, [x])[0], x @ w.T, rtol=1e-5)
    (constant,) = graph.of(ops.Constant)
    assert constant.value.flags.c_contiguous
    verify_graph(graph)


def test_sessions_share_the_memory_of_large_constants() -> None:
    w = weights()
    graph = graph_of(w, op_type="MatMul")
    aside: dict[str, Array] = {}
    inputs = [node.result for node in graph.inputs]
    model = ort.model_of(list(graph.ops)[1:-1], inputs, graph.outputs, aside=aside)
    assert [array is w for array in aside.values()] == [True]
    assert model.ByteSize() < w.nbytes
    x = np.ones((1, SIZE), np.float32)
    (y,) = ort.Session(model, aside=aside).run([x])
    np.testing.assert_allclose(y, x @ w, rtol=1e-5)


def test_results_of_folding_are_not_copied() -> None:
    graph = Graph()
    rewriter = Rewriter(graph)
    w = rewriter.insert(ops.Constant(weights())).result
    rewriter.returns([rewriter.insert(ops.Onnx.make("Neg", [w])).result])
    (result,) = evaluate(graph, [])
    assert ops.Constant(sealed(result[0])).value.base is not None
    Canonicalize().run(graph, rewriter, Context())
    np.testing.assert_array_equal(ops.constant_of(graph.outputs[0]), -weights())


def test_equal_large_constants_stay_apart_but_not_what_reads_them() -> None:
    w = weights()
    graph = graph_of(w, sealed(w.copy()), sealed(w + 1), op_type="MatMul")
    EliminateCommonSubexpressions().run(graph, Rewriter(graph), Context())
    verify_graph(graph)
    first, second, third = graph.outputs
    assert first is second
    assert first is not third
    assert {*first.owner.loc} == {"/layer0", "/layer1"}


def test_the_key_of_an_array_does_not_depend_on_its_order() -> None:
    w = weights()
    assert key_of(w.T) == key_of(np.ascontiguousarray(w.T))
    assert hash(key_of(w.T)) == hash(key_of(np.ascontiguousarray(w.T)))
    assert key_of(w.T) != key_of(w)
    wide = w.astype(np.complex128)
    assert key_of(wide) == key_of(wide.copy())
