"""What onnx and onnxruntime are asked: types of nodes, models of segments, batches."""

import numpy as np
import onnx
import pytest

from lutra.ir import ort
from lutra.ir.core import Input
from lutra.ir.errors import ModelError, VerifyError
from lutra.ir.interpreter import evaluate
from lutra.ir.ops import Constant, Neg, Onnx
from lutra.ir.parser import parse_graph
from lutra.ir.types import Int, Tensor


def floats(*shape: int) -> Input:
    return Input("x", Tensor(shape))


def test_types_of_nodes() -> None:
    x = floats(1, 4).result
    assert ort.infer_types("Relu", "", {}, [x]) == (Tensor((1, 4)),)
    split = ort.infer_types("Split", "", {"axis": 1, "num_outputs": 1}, [x])
    assert split == (Tensor((1, 4)),)
    sizes = Constant(np.array([2, 2])).result
    assert ort.infer_types("Reshape", "", {}, [x, sizes]) == (Tensor((2, 2)),)
    assert ort.infer_types("Cast", "", {"to": 7}, [x]) == (Tensor((1, 4), "int64"),)
    assert ort.infer_types("Clip", "", {}, [x, None, None]) == (Tensor((1, 4)),)


@pytest.mark.parametrize(
    ("op_type", "domain", "error", "code"),
    [
        ("Reluu", "", ModelError, "F004"),
        ("Relu", "mine", ModelError, "F004"),
        ("MatMul", "", VerifyError, "V001"),
        ("Reshape", "", ModelError, "F003"),
    ],
)
def test_types_that_cannot_be_told(
    op_type: str, domain: str, error: type[ModelError], code: str
) -> None:
    unknown = Input("sizes", Tensor((2,), "int64")).result
    inputs = [floats(1, 4).result, unknown if op_type == "Reshape" else floats(3, 2).result]
    with pytest.raises(error) as caught:
        ort.infer_types(op_type, domain, {}, inputs if op_type != "Relu" else inputs[:1])
    assert caught.value.code == code


def test_integers_have_no_place_in_a_float_model() -> None:
    x = Input("x", Int.of((2,), 0, 1))
    with pytest.raises(VerifyError, match="a float value is expected"):
        ort.infer_types("Relu", "", {}, [x.result])
    with pytest.raises(VerifyError, match="neg has no ONNX form here"):
        ort.model_of([Neg(x.result)], [], [])


def test_models_of_segments() -> None:
    graph = parse_graph("""
        %x = input : float32[1x2]
        %c = constant value=[[2.0, 3.0]]
        %0 = onnx.Mul %x, %c : float32[1x2]
        %1 = observe %0, lo=-1.0, hi=1.0
        %2 = onnx.Clip %1, none, none : float32[1x2]
        return %2
    """)
    model = ort.model_of(list(graph.ops)[1:-1], [graph.inputs[0].result], graph.outputs, typed=True)
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version == ort.IR_VERSION
    assert [(i.domain, i.version) for i in model.opset_import] == [("", ort.OPSET)]
    assert ort.tensor_of(model.graph.input[0].type) == Tensor((1, 2))
    (y,) = ort.Session(model).run([np.array([[1, 2]], np.float32)])
    assert y.tolist() == [[2.0, 6.0]]


def test_open_shapes_are_not_known() -> None:
    for shape in (None, ["n", 2]):
        info = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)
        with pytest.raises(ModelError) as error:
            ort.tensor_of(info.type)
        assert error.value.code == "F003"


def session(*rows: str, shape: str = "1x2") -> ort.Session:
    graph = parse_graph("\n".join([f"%x = input : float32[{shape}]", *rows, "return %y"]))
    nodes = list(graph.ops)[1:-1]
    return ort.Session(ort.model_of(nodes, [graph.inputs[0].result], graph.outputs), ["node"])


@pytest.mark.parametrize(
    ("rows", "batches"),
    [
        (["%y = onnx.Relu %x : float32[1x2]"], True),
        (["%y = onnx.Softmax %x, axis=0 : float32[1x2]"], False),
        (["%y = onnx.Transpose %x, perm=[1, 0] : float32[2x1]"], False),
        (["%y = onnx.ReduceSum %x, keepdims=0 : float32[]"], False),
        (["%c = constant value=[1, 2]", "%y = onnx.Reshape %x, %c : float32[1x2]"], False),
    ],
)
def test_batches_where_they_mean_the_same(rows: list[str], batches: bool) -> None:
    x = np.random.default_rng(0).normal(size=(5, 1, 2)).astype(np.float32)
    runs = session(*rows)
    (together,) = runs.run_samples([x], 5)
    assert runs._batches == {5: batches}
    for i in range(5):
        (alone,) = runs.run_samples([x[i : i + 1]], 1)
        np.testing.assert_allclose(together[i : i + 1], alone, rtol=1e-6)


def test_a_constant_may_fit_a_batch_by_chance() -> None:
    """Two equal samples give together what each gives alone; five do not."""
    runs = session(
        "%c = constant value=[[0.0, 1.0], [2.0, 3.0]]",
        "%z = onnx.Add %x, %c : float32[2x2]",
        "%a = constant value=[0]",
        "%s = onnx.ReduceMax %z, %a : float32[1x2]",
        "%y = onnx.Add %x, %s : float32[1x2]",
    )
    for samples in (3, 2, 5):
        (y,) = runs.run_samples([np.ones((samples, 1, 2), np.float32)], samples)
        np.testing.assert_array_equal(y, [[[4, 5]]] * samples)


def test_samples_may_share_an_operand() -> None:
    graph = parse_graph("""
        %x = input : float32[1x2]
        %c = input : float32[1x2]
        %y = onnx.Add %x, %c : float32[1x2]
        return %y
    """)
    inputs = [node.result for node in graph.inputs]
    runs = ort.Session(ort.model_of([graph.outputs[0].owner], inputs, graph.outputs))
    x = np.arange(8, dtype=np.float32).reshape(4, 1, 2)
    (y,) = runs.run_samples([x, np.full((1, 1, 2), 10, np.float32)], 4)
    np.testing.assert_array_equal(y, x + 10)


def test_what_onnxruntime_refuses() -> None:
    strange = Onnx((floats(2).result,), "Strange", (Tensor((2,)),), {}, "mine")
    with pytest.raises(ModelError) as error:
        ort.Session(ort.model_of([strange], strange.operands, strange.results), ["/strange"])
    assert (error.value.code, error.value.nodes) == ("F006", ("/strange",))
    runs = session(
        "%c = constant value=[3, 1]", "%y = onnx.Reshape %x, %c : float32[3x1]", shape="3"
    )
    with pytest.raises(ModelError) as error:
        runs.run([np.zeros(2, np.float32)])
    assert (error.value.code, error.value.nodes) == ("F006", ("node",))


def test_a_value_that_a_pad_reads_may_be_a_result() -> None:
    """onnxruntime's removal of identities lost the Pad in front of the second convolution."""
    graph = parse_graph("""
        %x = input : float32[1x1x4x4]
        %w = constant value=float32 [[[[2.0]]]]
        %b = constant value=float32 [[[[1.0]]]]
        %p = constant value=int64 [0, 0, 1, 1, 0, 0, 1, 1]
        %0 = onnx.Conv %x, %w : float32[1x1x4x4]
        %1 = onnx.Add %0, %b : float32[1x1x4x4]
        %2 = onnx.Pad %1, %p : float32[1x1x6x6]
        %3 = onnx.Conv %2, %w : float32[1x1x6x6]
        return %1, %3
    """)
    first, second = evaluate(graph, [np.ones((1, 1, 1, 4, 4), np.float32)])
    np.testing.assert_array_equal(first, np.full((1, 1, 1, 4, 4), 3))
    np.testing.assert_array_equal(second[0, 0, 0], np.pad(np.full((4, 4), 6), 1))
