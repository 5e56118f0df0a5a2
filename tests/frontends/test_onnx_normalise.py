"""`normalise`: the same function as a flat graph of static shapes at one opset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from lutra.frontends.onnx import load, normalise
from lutra.frontends.onnx.proto import shape_of
from lutra.ir.errors import ModelError
from lutra.ir.ort import IR_VERSION, OPSET
from onnx_models import model_of, op_types, random_feeds, run

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "models").glob("*.onnx"))
LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


def same_results(model: onnx.ModelProto, normal: onnx.ModelProto) -> None:
    feeds = random_feeds(normal)
    for old, new in zip(run(model, feeds), run(normal, feeds), strict=True):
        assert new.dtype == old.dtype
        np.testing.assert_allclose(new, old, rtol=1e-4, atol=1e-5)


def normal_of(text: str, opset: int = 17, **domains: int) -> onnx.ModelProto:
    """The normalised model of a graph, checked: it computes the same and all is as promised."""
    model = model_of(text, opset, **domains)
    before = model.SerializeToString()
    normal = normalise(model)
    assert model.SerializeToString() == before
    assert normal.ir_version == IR_VERSION
    assert {o.domain: o.version for o in normal.opset_import}[""] == OPSET
    names = [node.name for node in normal.graph.node]
    assert all(names)
    assert len(set(names)) == len(names)
    values = (*normal.graph.input, *normal.graph.value_info, *normal.graph.output)
    types = {value.name: value.type for value in values}
    for node in normal.graph.node:
        assert all(shape_of(types[name]) is not None for name in node.output)
    if not domains and not model.functions:
        same_results(model, normal)
    return normal


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples(path: Path) -> None:
    model = load(path)
    normal = normalise(model)
    assert [node.name for node in normal.graph.node] == [node.name for node in model.graph.node]
    same_results(model, normal)


@pytest.mark.parametrize("name", ["squeezenet", "shufflenet"])
def test_deep_networks(name: str) -> None:
    model = load(LIGHT / f"light_{name}.onnx")
    normal = normalise(model)
    assert "ConstantOfShape" not in op_types(normal)
    same_results(model, normal)


# --- constants ----------------------------------------------------------------------------------
def test_the_flatten_idiom_of_exporters_folds_away() -> None:
    normal = normal_of("""
        g (float[N, 3, 4] x) => (float[N, M] y) <int64 zero = {0}, int64[1] rest = {-1}> {
          s = Shape(x)
          n = Gather<axis=0>(s, zero)
          a = Constant<value_ints=[0]>()
          m = Unsqueeze(n, a)
          t = Concat<axis=0>(m, rest)
          y = Reshape(x, t)
        }""")
    assert op_types(normal) == ["Reshape"]


def test_a_reshape_that_keeps_the_batch_takes_many_samples() -> None:
    normal = normal_of("""
        g (float[1, 3, 4] x) => (float[1, 12] y) <int64[2] s = {1, 12}> { y = Reshape(x, s) }""")
    for dim in (normal.graph.input[0], normal.graph.output[0]):
        dim.type.tensor_type.shape.dim[0].dim_param = "N"
    assert run(normal, {"x": np.zeros((5, 3, 4), np.float32)})[0].shape == (5, 12)


def test_initializers_that_are_inputs_are_constants() -> None:
    model = model_of("g (float[1, 4] x, float[4] w) => (float[1, 4] y) { y = Add(x, w) }")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(4, np.float32), "w"))
    normal = normalise(model)
    assert [value.name for value in normal.graph.input] == ["x"]
    same_results(model, normal)


def test_constants_of_every_kind() -> None:
    normal = normal_of("""
        g (float[1, 4] x) => (float[1, 4] y) {
          a = Constant<value_float=0.5>()
          b = Constant<value_floats=[1.0, 2.0, 3.0, 4.0]>()
          c = Constant<value=float[4] {4, 3, 2, 1}>()
          n = Constant<value_int=1>()
          d = Cast<to=1>(n)
          bc = Mul(b, c)
          e = Sub(bc, d)
          xa = Mul(x, a)
          y = Add(xa, e)
        }""")
    assert op_types(normal) == ["Mul", "Add"]


def test_big_constants_fold_too() -> None:
    model = model_of("""
        g (float[1, 64] x) => (float[1, 96] y) { t = Transpose(w)
          y = MatMul(x, t) }""")
    weights = np.random.default_rng(0).standard_normal((96, 64)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    normal = normalise(model)
    assert op_types(normal) == ["MatMul"]
    assert len(normal.graph.initializer) == 1
    same_results(model, normal)


def test_sparse_constants() -> None:
    model = model_of("""
        g (float[N, 3] x) => (float[N, 3] y, float[N, 3] z) <float[4] spare = {0, 0, 0, 0}> {
          y = MatMul(x, w)
          z = Mul(y, v) }""")
    for name, dims, indices in (("w", [3, 3], [[0, 1], [2, 0]]), ("v", [3], [0, 2])):
        sparse = model.graph.sparse_initializer.add(dims=dims)
        values = np.asarray([2, -3], np.float32)
        sparse.values.CopyFrom(onnx.numpy_helper.from_array(values, name))
        sparse.indices.CopyFrom(onnx.numpy_helper.from_array(np.asarray(indices)))
    normal = normalise(model)
    y, z = run(normal, {"x": np.asarray([[1, 10, 100]], np.float32)})
    np.testing.assert_array_equal(y, [[-300, 2, 0]])
    np.testing.assert_array_equal(z, [[-600, 0, 0]])


def test_names_of_values_do_not_clash() -> None:
    normal = normal_of("""
        g (float[1, 2, 3] x) => (float[1, 6] y) <int64[2] s = {1, 6}> {
          [e] "a/shape" = Exp(x)
          [a] y = Reshape("a/shape", s)
        }""")
    assert op_types(normal) == ["Exp", "Reshape"]


def test_quantized_weights_stay_quantized() -> None:
    normal = normal_of("""
        g (float[1, 2] x) => (float[1, 2] y)
        <float[2, 2] w = {1, 2, 3, 4}, float s = {0.5}, int8 z = {0}> {
          q = QuantizeLinear(w, s, z)
          low = Constant<value=int8 {-7}>()
          high = Constant<value=int8 {7}>()
          c = Clip(q, low, high)
          d = DequantizeLinear(c, s, z)
          t = Transpose(d)
          y = MatMul(x, t)
        }""")
    assert op_types(normal) == ["DequantizeLinear", "Transpose", "MatMul"]


def test_int4_weights_survive_the_conversion() -> None:
    packed = onnx.helper.make_tensor("w", onnx.TensorProto.INT4, [4], [1, -2, 3, -8])
    model = model_of(
        """
        g (float[1, 4] x) => (float[1, 4] y) <float s = {0.5}> { d = DequantizeLinear(w, s)
          y = Mul(x, d) }""",
        23,
    )
    model.graph.initializer.append(packed)
    normal = normalise(model)
    x = np.ones((1, 4), np.float32)
    np.testing.assert_array_equal(run(normal, {"x": x})[0], [[0.5, -1, 1.5, -4]])


def test_nodes_that_draw_random_numbers_are_not_folded() -> None:
    with pytest.raises(ModelError, match="random") as caught:
        normal_of("""g (float[1, 4] x) => (float[1, 4] y) { [noise] r = RandomNormal<shape=[4]>()
                     y = Add(x, r) }""")
    assert caught.value.code == "F004"
    assert caught.value.nodes == ("noise",)


# --- nodes that do nothing, branches, functions -------------------------------------------------
def test_identities_go() -> None:
    normal = normal_of("""
        g (float[1, 4] x) => (float[1, 4] y, float[1, 4] z) <float half = {0.5}, bool no = {0}> {
          a = Identity(x)
          b = Dropout(a, half, no)
          c = Cast<to=1>(b)
          d = Relu(c)
          e = Identity(d)
          y = Identity(e)
          z = Exp(e)
          dead = Sin(z)
        }""")
    assert op_types(normal) == ["Relu", "Exp"]


def test_names_of_inputs_and_outputs_stay() -> None:
    normal = normal_of("""
        g (float[1, 4] x) => (float[1, 4] y, float[1, 4] z, float[1, 4] w, float[2] k)
        <float[2] c = {1, 2}> {
          y = Dropout(x)
          z = Relu(x)
          w = Identity(z)
          k = Identity(c)
        }""")
    assert [value.name for value in normal.graph.output] == ["y", "z", "w", "k"]
    assert op_types(normal) == ["Identity", "Relu", "Identity"]


@pytest.mark.parametrize("condition", [0, 1])
def test_decided_branches(condition: int) -> None:
    normal = normal_of(f"""
        g (float[1, 4] x) => (float[1, 4] y, float[1, 4] z) <bool c = {{{condition}}}> {{
          u = Exp(x)
          [choice] y, z = If(c) <
            then_branch = t () => (float[1, 4] a, float[1, 4] b)
              <float k = {{2}}> {{ a = Mul(u, k) b = Identity(x) }},
            else_branch = e () => (float[1, 4] a, float[1, 4] b) {{
              not_c = Not(c)
              a = If(not_c) <
                then_branch = t () => (float[1, 4] i) {{ i = Sin(u) }},
                else_branch = e () => (float[1, 4] j) {{ j = Cos(u) }}>
              b = Tanh(x)
            }}>
        }}""")
    wanted = ["Exp", "Mul", "Identity"] if condition else ["Exp", "Sin", "Tanh"]
    assert op_types(normal) == wanted
    assert any(node.name.startswith("choice/") for node in normal.graph.node)


def test_open_branches_and_all_else_that_is_unsupported_is_listed_at_once() -> None:
    with pytest.raises(ModelError) as caught:
        normal_of(
            """
            g (float[1, 4] x, bool c) => (float[1, 4] y) {
              [either] a = If(c) <then_branch = t () => (float[1, 4] i) { i = Sin(x) },
                                  else_branch = e () => (float[1, 4] j) { j = Cos(x) }>
              [fine] b = Exp(a)
              [parts] s = SplitToSequence<axis=1>(b)
              [joined] d = ConcatFromSequence<axis=1>(s)
              [noise] r = RandomNormalLike(d)
              [foreign] y = my.ops.Magic(r)
            }""",
            my_ops=1,
        )
    assert caught.value.code == "F004"
    assert caught.value.nodes == ("either", "parts", "joined", "noise", "foreign")
    assert "If either: it runs a subgraph that depends on data" in caught.value.lines


def test_functions_are_inlined() -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["": 17, "my.ops": 1]>
        g (float[N, 4, 3] x) => (float[N, 4, 3] y) { t = my.ops.twice(x)
          y = my.ops.twice(t) }
        <domain: "my.ops", opset_import: ["": 15]>
        twice (a) => (b) { [soft] c = Softmax<axis=1>(a)
          b = Add(c, c) }""")
    normal = normalise(model)
    assert [o.domain for o in normal.opset_import] == [""]
    assert not normal.functions
    assert op_types(normal) == ["Softmax", "Add"] * 2
    assert [node.name.startswith("soft") for node in normal.graph.node] == [True, False] * 2
    same_results(model, normal)


def test_results_that_nobody_reads() -> None:
    text = """
        g (float[5, 1, 4] x) => (float[1, 1, 3] y, float[5, 1, 2] z) {
          none, y = LSTM<hidden_size=3>(x, w, r)
          z, i = MaxPool<kernel_shape=[2], strides=[2]>(x)
        }"""
    model = model_of(text)
    model.graph.node[0].output[0] = ""
    rng = np.random.default_rng(0)
    for name, shape in (("w", (1, 12, 4)), ("r", (1, 12, 3))):
        tensor = onnx.numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
        model.graph.initializer.append(tensor)
    normal = normalise(model)
    assert [len(node.output) for node in normal.graph.node] == [2, 1]
    assert all(normal.graph.node[0].output)
    same_results(model, normal)


# --- names --------------------------------------------------------------------------------------
def test_node_names() -> None:
    text = """
        g (float[1, 4] x) => (float[1, 4] y) {
          a = Exp(x)
          [mine] b = Sin(a)
          [mine] c = Cos(b)
          [Tanh_4] d = Abs(c)
          y = Tanh(d)
        }"""
    names = [node.name for node in normalise(model_of(text)).graph.node]
    assert names == ["Exp_0", "mine", "mine_1", "Tanh_4", "Tanh_4_1"]


def test_names_are_those_of_the_positions_in_the_model() -> None:
    normal = normal_of("""
        g (float[1, 4] x) => (float[1, 4] y) { a = Identity(x)
          k = Constant<value_float=2.0>()
          y = Mul(a, k) }""")
    assert normal.graph.node[0].name == "Mul_2"
