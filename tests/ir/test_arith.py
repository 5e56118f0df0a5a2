"""Integer products are exact at every magnitude, and convolution is cross-correlation."""

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from lutra.ir import arith, ort
from lutra.ir.errors import VerifyError
from lutra.ir.types import Array
from lutra.testing.graphs import arrays


def run_onnx(op_type: str, *inputs: Array, **attributes: object) -> Array:
    """One ONNX node in onnxruntime, on arrays as they are."""
    names = [f"x{i}" for i in range(len(inputs))]
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
        for name, x in zip(names, inputs, strict=True)
    ]
    output = helper.make_tensor_value_info("y", infos[0].type.tensor_type.elem_type, None)
    node = helper.make_node(op_type, names, ["y"], **attributes)
    graph = helper.make_graph([node], "g", infos, [output])
    model = helper.make_model(graph, opset_imports=ort.opset_imports([]), ir_version=ort.IR_VERSION)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (y,) = session.run(None, dict(zip(names, inputs, strict=True)))
    return np.asarray(y)


@given(st.data(), st.integers(1, 3), st.integers(1, 3))
def test_conv_is_that_of_onnx(data: st.DataObject, space: int, batch: int) -> None:
    draw = data.draw
    group, strides, dilations = draw(st.integers(1, 3)), [], []
    kernel, size = [], []
    for _ in range(space):
        strides.append(draw(st.integers(1, 3)))
        dilations.append(draw(st.integers(1, 2)))
        kernel.append(draw(st.integers(1, 3)))
        size.append((kernel[-1] - 1) * dilations[-1] + 1 + draw(st.integers(0, 3)))
    channels = draw(st.integers(1, 2))
    x = draw(arrays(-99, 99, (batch, group * channels, *size)))
    w = draw(arrays(-99, 99, (group * draw(st.integers(1, 2)), channels, *kernel)))
    wanted = run_onnx(
        "Conv", x.astype(np.float32), w.astype(np.float32),
        strides=strides, dilations=dilations, group=group,
    )  # fmt: skip
    got = arith.conv(x, w, strides, dilations, group)
    assert got.dtype == np.int64
    np.testing.assert_array_equal(got, wanted)


@given(st.data(), st.sampled_from([(), (1,), (2,), (3, 2)]))
def test_matmul_is_that_of_onnx(data: st.DataObject, lead: tuple[int, ...]) -> None:
    rows, terms, columns = (data.draw(st.integers(1, 4)) for _ in range(3))
    x = data.draw(arrays(-(2**20), 2**20, (*lead, rows, terms)))
    w = data.draw(arrays(-(2**20), 2**20, (terms, columns)))
    wanted = run_onnx("MatMul", x.astype(np.float64), w.astype(np.float64))
    np.testing.assert_array_equal(arith.matmul(x, w), wanted)


@given(st.data(), st.booleans())
def test_total_is_that_of_onnx(data: st.DataObject, keepdims: bool) -> None:
    x = data.draw(arrays(-(2**40), 2**40, (2, 3, 2)))
    axes = data.draw(st.sampled_from([(0,), (2,), (0, 2), (0, 1, 2)]))
    wanted = run_onnx("ReduceSum", x, np.array(axes), keepdims=int(keepdims))
    np.testing.assert_array_equal(arith.total(x, axes, keepdims), wanted)


@pytest.mark.parametrize("bits", [10, 23, 24, 25, 52, 53, 54, 60])
def test_products_are_exact_at_every_magnitude(bits: int) -> None:
    """Near 2^24 and 2^53, where float32 and float64 cease to hold all integers."""
    x, w = np.array([[(1 << bits) - 1, 1]]), np.array([[1], [1]])
    assert arith.matmul(x, w).tolist() == [[1 << bits]]
    assert arith.conv(x[:, None], w.reshape(1, 1, 2), [1], [1], 1).tolist() == [[[1 << bits]]]
    odd = (1 << bits // 2) - 1
    assert arith.matmul(np.array([[odd, odd]]), np.array([[odd], [1]])).tolist() == [
        [odd * odd + odd]
    ]


def test_what_int64_cannot_hold_is_refused() -> None:
    big = np.array([[1 << 40]])
    for make in (
        lambda: arith.matmul(big, big),
        lambda: arith.multiply(big, big),
        lambda: arith.conv(big[None], big[None], [1], [1], 1),
        lambda: arith.total(np.full((1, 4), 1 << 61), (1,), True),
    ):
        with pytest.raises(VerifyError) as error:
            make()
        assert error.value.code == "V004"


def test_sums_may_cancel() -> None:
    """Partial sums beyond int64 do no harm where the sum itself fits."""
    big = 1 << 61
    assert arith.matmul(np.array([[big, big, -big]]), np.array([[1], [1], [1]])) == big
    assert arith.matmul(np.array([[big, big]]), np.array([[8], [-8]])) == 0


def test_large_convolutions_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x, w = rng.integers(-9, 9, (5, 2, 6, 6)), rng.integers(-9, 9, (4, 1, 3, 3))
    whole = arith.conv(x, w, (1, 1), (1, 1), 2)
    monkeypatch.setattr(arith, "CHUNK", 700)
    np.testing.assert_array_equal(arith.conv(x, w, (1, 1), (1, 1), 2), whole)
    assert arith.conv(x[:0], w, (1, 1), (1, 1), 2).shape == (0, 4, 4, 4)
