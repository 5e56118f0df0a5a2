"""Graphs as ONNX models, held against the interpreter bit for bit."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lutra.backends import onnx as backend
from lutra.backends.onnx.emission import EMISSION
from lutra.ir import ort
from lutra.ir.core import OPS, Graph
from lutra.ir.errors import BackendError, InputError
from lutra.ir.interpreter import evaluate
from lutra.ir.parser import parse_graph
from lutra.ir.samples import samples
from lutra.testing.graphs import integer_graphs, quantized_graphs


def test_every_op_is_emitted() -> None:
    ours = {kind for kind in OPS.values() if kind.__module__.startswith("lutra.ir.")}
    assert ours == set(EMISSION)


@given(integer_graphs(), st.integers(0, 99))
def test_random_circuits(graph: Graph, seed: int) -> None:
    executable = backend.emit(graph)
    for count in (4, 1, 0):
        inputs = [array[:count] for array in samples(graph, count=4, seed=seed)]
        for result, expected in zip(executable.run(*inputs), evaluate(graph, inputs), strict=True):
            assert result.dtype == np.int64
            np.testing.assert_array_equal(result, expected)


@given(quantized_graphs(), st.integers(0, 99))
def test_random_graphs_with_floats(graph: Graph, seed: int) -> None:
    inputs = [array[:1] for array in samples(graph, count=2, seed=seed)]
    results = ort.Session(backend.model_of(graph)).run([array[0] for array in inputs])
    for result, expected in zip(results, evaluate(graph, inputs), strict=True):
        np.testing.assert_array_equal(result, expected[0])


CLASSIFIER = """
%x = input : float32[1x3]
%b = constant value=float32 [1.0, 2.0, 4.0]
%0 = onnx.Mul %x, %b : float32[1x3]
%1 = quantize %0, scale=0.5, zero_point=3, lo=0, hi=15
return %1
"""

NORMALISED = """
%x = input : float32[1x3]
%0 = onnx.ReduceMax %x, keepdims=1 : float32[1x1]
%1 = onnx.Div %x, %0 : float32[1x3]
return %1
"""


def test_clients_model_takes_whole_batches() -> None:
    graph = parse_graph(CLASSIFIER)
    model = backend.client_model(graph)
    onnx.checker.check_model(model, full_check=True)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "samples"
    x = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    (result,) = ort.Session(model).run([x])
    np.testing.assert_array_equal(result, evaluate(graph, [x[:, None]])[0][:, 0])


@pytest.mark.parametrize("text", [NORMALISED, CLASSIFIER.replace("1x3", "3")])
def test_clients_model_of_one_sample(text: str) -> None:
    graph = parse_graph(text)
    model = backend.client_model(graph)
    dims = model.graph.input[0].type.tensor_type.shape.dim
    assert tuple(dim.dim_value for dim in dims) == graph.inputs[0].type.shape
    x = np.ones(graph.inputs[0].type.shape, np.float32)
    (result,) = ort.Session(model).run([x])
    np.testing.assert_array_equal(result, evaluate(graph, [x[None]])[0][0])


def test_names_of_a_model_are_kept() -> None:
    graph = parse_graph(
        "%x = input : u2[1x2] in [0, 3]\n"
        '%0 = add_clear %x, c=1  loc "/fc/Gemm"\n'
        'return %0, names=["the result"]'
    )
    model = backend.model_of(graph)
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.input] == ["x"]
    assert [value.name for value in model.graph.output] == ["the result"]
    assert model.graph.node[0].name == "/fc/Gemm"


@pytest.mark.parametrize(
    "body",
    [
        "%1 = onnx.Relu %0 : float32[1x2]\nreturn %1",
        "%1 = quantize %0, scale=1.0, zero_point=0, lo=0, hi=3\n"
        "%2 = slice %1, starts=[0, 0], stops=[1, 0], steps=[1, 1]\nreturn %2",
    ],
    ids=["float node", "no elements"],
)
def test_what_a_circuit_may_not_hold(body: str) -> None:
    head = (
        "%x = input : u2[1x2] in [0, 3]\n%0 = dequantize %x, scale=1.0, zero_point=0, offset=0.0\n"
    )
    with pytest.raises(BackendError) as caught:
        backend.emit(parse_graph(head + body))
    assert caught.value.code == "B002"


@pytest.mark.parametrize(
    ("inputs", "code"),
    [
        ([], "I004"),
        ([np.zeros((1, 3), int), np.zeros((1, 2), int)], "I001"),
        ([np.zeros((1, 2), int), np.zeros(2, int)], "I001"),
        ([np.zeros((1, 2), int), np.zeros((2, 2), int)], "I001"),
        ([np.zeros((1, 2)), np.zeros((1, 2), int)], "I002"),
        ([np.full((1, 2), 4), np.zeros((1, 2), int)], "I002"),
    ],
)
def test_bad_inputs(inputs: list[np.ndarray], code: str) -> None:
    circuit = parse_graph(
        "%x = input : u2[2] in [0, 3]\n%y = input : u2[2] in [0, 3]\n%0 = add %x, %y\nreturn %0"
    )
    with pytest.raises(InputError) as caught:
        backend.emit(circuit).run(*inputs)
    assert caught.value.code == code
