"""The reference interpreter: batches, float segments, checked inputs, counted events."""

import numpy as np
import pytest

from lutra.ir.core import Op
from lutra.ir.errors import InputError
from lutra.ir.interpreter import Interpreter, evaluate
from lutra.ir.ops import Assume, Neg
from lutra.ir.parser import parse_graph
from lutra.ir.types import Array

MIXED = """
%x = input : float32[1x2]
%0 = onnx.Relu %x : float32[1x2]
%1 = quantize %0, scale=0.5, zero_point=0, lo=0, hi=15
%2 = neg %1
%3 = dequantize %2, scale=0.5, zero_point=0, offset=1.0
%4 = onnx.Sigmoid %3 : float32[1x2]
%5 = onnx.Add %4, %x : float32[1x2]
return %5, %1
"""
TWO = """
%x = input : u4[2] in [0, 9]
%y = input : i3[] in [-4, 3]
%0 = add %x, %y
%1 = neg %x
return %0, %1
"""


@pytest.mark.parametrize("samples", [0, 1, 2, 5])
def test_all_three_levels(samples: int) -> None:
    x = np.random.default_rng(0).normal(0, 3, (samples, 1, 2)).astype(np.float32)
    y, q = evaluate(parse_graph(MIXED), [x])
    steps = np.clip(np.rint(np.maximum(x, 0) / 0.5), 0, 15)
    np.testing.assert_array_equal(q, steps)
    np.testing.assert_allclose(y, 1 / (1 + np.exp(steps * 0.5 - 1)) + x, rtol=1e-5)
    assert y.shape == x.shape
    assert (y.dtype, q.dtype) == (np.float32, np.int64)


def test_any_value_may_be_fetched() -> None:
    graph = parse_graph(MIXED)
    values = [op.result for op in graph.ops if op.results]
    x = np.ones((4, 1, 2), np.float32)
    results = Interpreter(graph, values).run([x])
    assert len(results) == 7
    np.testing.assert_array_equal(results[3], -2 * x)
    np.testing.assert_array_equal(results[0], x)


def test_only_what_is_fetched_is_computed() -> None:
    graph = parse_graph(TWO)
    (neg,) = graph.of(Neg)
    (y,) = Interpreter(graph, [neg.result]).run({"x": np.array([[1, 2]])})
    assert y.tolist() == [[-1, -2]]
    ran: list[str] = []

    class Watched(Interpreter):
        def compute(self, op: Op, operands: list[Array]) -> Array:  # type: ignore[override]
            ran.append(op.opname)
            return super().compute(op, operands)  # type: ignore[return-value]

    Watched(graph, [neg.result]).run({"x": np.array([[1, 2]])})
    assert ran == ["neg"]


def test_inputs_by_order_or_name() -> None:
    graph = parse_graph(TWO)
    x, y = np.array([[1, 2], [3, 4]]), np.array([1, -1])
    for given in ([x, y], {"y": y, "x": x}):
        total, negated = evaluate(graph, given)
        assert total.tolist() == [[2, 3], [2, 3]]
        assert negated.tolist() == [[-1, -2], [-3, -4]]


def test_one_sample_serves_for_all() -> None:
    total, negated = evaluate(parse_graph(TWO), [np.array([[1, 2]]), np.array([1, 2, 3])])
    assert total.tolist() == [[2, 3], [3, 4], [4, 5]]
    assert negated.shape == (3, 2)


def test_small_integer_types_do_not_overflow() -> None:
    graph = parse_graph("%x = input : u8[1] in [0, 255]\n%0 = mul_clear %x, c=1000\nreturn %0")
    assert evaluate(graph, [np.array([[200]], np.uint8)])[0].tolist() == [[200_000]]


def test_results_that_depend_on_no_input() -> None:
    graph = parse_graph("%x = input : u1[] in [0, 1]\n%0 = int_constant value=[7]\nreturn %0")
    assert evaluate(graph, [np.zeros(3, int)])[0].tolist() == [[7], [7], [7]]
    graph = parse_graph("%0 = constant value=2.0\n%1 = onnx.Relu %0 : float32[]\nreturn %1, %0")
    assert [y.tolist() for y in evaluate(graph, [])] == [[2.0], [2.0]]


@pytest.mark.parametrize(
    ("inputs", "code", "message"),
    [
        ({"x": np.array([[1, 2]])}, "I004", "input 'y' is missing"),
        ({"x": [[1, 2]], "y": [1], "z": [1]}, "I004", "no input 'z'"),
        ([[[1, 2]]], "I004", "1 inputs are given, not 2"),
        ([[[1, 2, 3]], [1]], "I001", "input 'x' has shape (1, 3), not (samples, 2)"),
        ([[[1, 2]], 1], "I001", "input 'y' has shape (), not (samples)"),
        ([[[1, 2]] * 2, [1] * 3], "I001", "inputs differ in their number of samples: 2, 3"),
        ([[[1, 10]], [1]], "I002", "input 'x' reaches [1, 10], outside of u4[2] in [0, 9]"),
        ([[[1, 2]], [-5]], "I002", "input 'y' reaches [-5, -5], outside of i3[] in [-4, 3]"),
        ([[[1.0, 2.0]], [1]], "I002", "input 'x' has data type float64, not int64"),
        ([[["a", "b"]], [1]], "I002", "input 'x' has data type <U1, not int64"),
    ],
)
def test_wrong_inputs(inputs: object, code: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        evaluate(parse_graph(TWO), inputs)  # type: ignore[arg-type]
    assert error.value.code == code
    assert message in error.value.message


def test_violations_add_up_over_runs() -> None:
    graph = parse_graph("""
        %x = input : u4[2] in [0, 15]
        %0 = assume %x, lo=[2, 0], hi=[9, 3]
        return %0
    """)
    (assume,) = graph.of(Assume)
    interpreter = Interpreter(graph)
    (y,) = interpreter.run([np.array([[1, 1], [2, 4], [10, 15], [9, 3]])])
    assert y[2].tolist() == [10, 15]  # the identity, outside too
    assert interpreter.violations == {assume: 4}
    interpreter.run([np.array([[0, 0]])])
    assert interpreter.violations == {assume: 5}
