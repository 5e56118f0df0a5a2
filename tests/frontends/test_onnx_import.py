"""`import_model`: one operation for each node, with the model's names, types and results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from lutra.frontends.onnx import import_model, load
from lutra.frontends.onnx.attributes import attributes_of
from lutra.ir.core import Graph
from lutra.ir.interpreter import evaluate
from lutra.ir.ops import Constant, Onnx
from lutra.ir.types import Tensor
from lutra.ir.verifier import verify
from onnx_models import model_of, run

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "models").glob("*.onnx"))


def graph_of(text: str, opset: int = 17) -> Graph:
    module = import_model(model_of(text, opset))
    verify(module)
    assert list(module.graphs) == ["main"]
    return module.main


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_compute_the_same_on_many_samples(path: Path) -> None:
    module = import_model(path)
    verify(module)
    parameter = module.main.inputs[0]
    x = np.random.default_rng(0).standard_normal((6, *parameter.type.shape)).astype(np.float32)
    (found,) = evaluate(module.main, {parameter.name: x})
    (wanted,) = run(load(path), {parameter.name: x[:, 0]})
    np.testing.assert_allclose(found[:, 0], wanted, rtol=1e-4, atol=1e-5)


def test_names_types_and_origins() -> None:
    graph = graph_of("""
        g (float[N, 1, 4, 4] image) => (float[N, 2, 2, 2] score, int64[N] best)
        <float[2, 1, 3, 3] k = {0,1,2,3,4,5,6,7,8, 0,1,2,3,4,5,6,7,8}, float low = {0.5}> {
          [conv1] c = Conv<kernel_shape=[3, 3]>(image, k)
          [clip] score = Clip(c, , low)
          m = ReduceMax<axes=[1, 2, 3], keepdims=0>(score)
          best = Cast<to=7>(m)
        }""")
    assert [(i.name, i.type) for i in graph.inputs] == [("image", Tensor((1, 1, 4, 4)))]
    assert graph.output_names == ("score", "best")
    assert [value.type for value in graph.outputs] == [Tensor((1, 2, 2, 2)), Tensor((1,), "int64")]
    nodes = list(graph.of(Onnx))
    assert [node.loc for node in nodes] == [("conv1",), ("clip",), ("ReduceMax_2",), ("Cast_3",)]
    assert [node.op_type for node in nodes] == ["Conv", "Clip", "ReduceMax", "Cast"]
    assert nodes[0].attrs == {"kernel_shape": [3, 3]}
    assert nodes[1].inputs[1] is None
    assert nodes[1].input(2) is not None
    assert nodes[0].result.type == Tensor((1, 2, 2, 2))


def test_constants_stand_in_front_of_their_first_user() -> None:
    graph = graph_of("""
        g (float[N, 2] x) => (float[N, 2] y) <float[2] a = {1, 2}, float[2] b = {3, 4}> {
          c = Mul(x, b)
          d = Add(c, a)
          y = Add(d, b)
        }""")
    kinds = ["b" if isinstance(node, Constant) else "." for node in graph.ops]
    assert "".join(kinds) == ".b.b..."


def test_attributes_are_python_values() -> None:
    node = onnx.helper.make_node(
        "Any",
        ["x"],
        ["y"],
        number=3,
        scale=0.5,
        text="linear",
        sizes=[1, 2],
        factors=[0.25, 4.0],
        words=["Sigmoid", "Tanh"],
        tensor=onnx.numpy_helper.from_array(np.arange(3, dtype=np.int8)),
    )
    attributes = attributes_of(node)
    np.testing.assert_array_equal(attributes.pop("tensor"), np.arange(3, dtype=np.int8))
    assert attributes == {
        "number": 3,
        "scale": 0.5,
        "text": "linear",
        "sizes": [1, 2],
        "factors": [0.25, 4.0],
        "words": ["Sigmoid", "Tanh"],
    }


def test_outputs_that_are_inputs_or_constants() -> None:
    model = model_of("g (float[N, 2] x) => (float[N, 2] y) { y = Relu(x) }")
    model.graph.output.add().CopyFrom(model.graph.input[0])
    constant = onnx.numpy_helper.from_array(np.ones(3, np.float32), "k")
    model.graph.initializer.append(constant)
    model.graph.output.append(onnx.helper.make_tensor_value_info("k", 1, [3]))
    module = import_model(model)
    verify(module)
    x = np.asarray([[[-1, 2]], [[3, -4]]], np.float32)
    y, same, ones = evaluate(module.main, [x])
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    np.testing.assert_array_equal(same, x)
    np.testing.assert_array_equal(ones, np.ones((2, 3)))
    assert module.main.output_names == ("y", "x", "k")


def test_float_biases_of_quantized_models_are_not_rounded() -> None:
    model = model_of("""
        g (float[N, 2] x) => (float[N, 2] y) <
          float[2, 2] w = {1, -2, 3, 4}, float[2] b = {0.11, -0.07}, float s = {0.5}, int8 z = {0}
        > {
          xq = QuantizeLinear(x, s, z)
          xd = DequantizeLinear(xq, s, z)
          wq = QuantizeLinear(w, s, z)
          wd = DequantizeLinear(wq, s, z)
          y = Gemm(xd, wd, b)
        }""")
    x = np.asarray([[1, 2]], np.float32)
    (found,) = evaluate(import_model(model).main, [x[None]])
    np.testing.assert_allclose(found[0], [[7.11, 5.93]], rtol=1e-6)
    np.testing.assert_allclose(run(model, {"x": x})[0], found[0], rtol=1e-6)


# --- types --------------------------------------------------------------------------------------
def brief_model() -> onnx.ModelProto:
    model = model_of(
        "g (bfloat16[N, 4] x) => (bfloat16[N, 3] y) { h = MatMul(x, w) r = Relu(h) y = Add(r, b) }"
    )
    rng = np.random.default_rng(0)
    for name, shape in (("w", (4, 3)), ("b", (3,))):
        array = rng.standard_normal(shape).astype("bfloat16")
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return model


def test_bfloat16_is_computed_in_float32() -> None:
    ops = [op for op in import_model(brief_model()).main.ops if isinstance(op, Onnx)]
    assert [op.op_type for op in ops] == ["Cast", "MatMul", "Relu", "Add", "Cast"]
    assert {op.result.type.dtype for op in ops[:-1]} == {"float32"}
    assert ops[-1].result.type.dtype == "bfloat16"


def test_native_ends() -> None:
    module = import_model(brief_model(), native=True)
    x = np.random.default_rng(1).standard_normal((3, 1, 4)).astype(np.float32)
    (found,) = evaluate(module.main, {"x": x})
    (wanted,) = evaluate(import_model(brief_model()).main, {"x": x.astype("bfloat16")})
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, wanted.astype(np.float32))


# --- pools --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "pool",
    [
        "MaxPool<kernel_shape=[2,2],strides=[3,3],ceil_mode=1>(x)",
        "MaxPool<kernel_shape=[3,2],strides=[3,2],pads=[1,0,1,0],ceil_mode=1>(x)",
        "AveragePool<kernel_shape=[3,2],strides=[3,3],pads=[1,1,1,1],ceil_mode=1>(x)",
        "AveragePool<kernel_shape=[1,1],strides=[3,3],ceil_mode=1,count_include_pad=1>(x)",
    ],
)
@pytest.mark.parametrize("size", [(5, 5), (6, 6), (6, 5)])
def test_windows_that_begin_behind_the_image(pool: str, size: tuple[int, int]) -> None:
    height, width = size
    model = model_of(f"g (float[1,1,{height},{width}] x) => (float[1,1,a,b] y) {{ y = {pool} }}")
    module = import_model(model)
    verify(module)
    x = np.random.default_rng(0).standard_normal((1, 1, height, width)).astype(np.float32)
    (found,) = evaluate(module.main, [x[None]])
    assert found.shape[1:] == module.main.outputs[0].shape
    np.testing.assert_allclose(found[0], run(model, {"x": x})[0], rtol=1e-6)
