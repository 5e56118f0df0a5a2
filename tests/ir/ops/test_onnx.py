"""ONNX nodes as operations."""

import numpy as np
import pytest

from lutra.ir.core import Input
from lutra.ir.errors import VerifyError
from lutra.ir.ops import Constant, Onnx, constant_of, scalar_of
from lutra.ir.types import Int, Tensor


def test_make_infers_types() -> None:
    x = Input("x", Tensor((1, 3, 8, 8))).result
    w = Constant(np.zeros((2, 3, 3, 3), np.float32)).result
    conv = Onnx.make("Conv", [x, w], pads=[1, 1, 1, 1])
    assert conv.result.type == Tensor((1, 2, 8, 8))
    assert conv.input(1) is w
    assert conv.input(2) is None
    assert conv.operands == (x, w)


def test_absent_operands() -> None:
    x, high = Input("x", Tensor((2,))).result, Constant(np.float32(1)).result
    clip = Onnx.make("Clip", [x, None, high])
    assert clip.inputs == (x, None, high)
    assert clip.operands == (x, high)
    y = Input("y", Tensor((2,))).result
    twin = clip.copy({x: y})
    assert twin.inputs == (y, None, high)
    with pytest.raises(VerifyError, match="the type of Clip is float32"):
        clip.copy({x: high})


def test_types_are_held_against_onnx() -> None:
    x = Input("x", Tensor((2,))).result
    with pytest.raises(VerifyError, match=r"the type of Relu is float32\[2\], not float64\[2\]"):
        Onnx((x,), "Relu", (Tensor((2,), "float64"),), {})
    Onnx((x,), "Relu", (Tensor((2,), "float64"),), {}, "mine")  # not ONNX's own: nobody knows


def test_circuit_integers_are_refused() -> None:
    q = Input("q", Int.of((2,), 0, 3)).result
    with pytest.raises(VerifyError, match=r"Relu reads u2\[2\] in \[0, 3\], an integer"):
        Onnx((q,), "Relu", (Tensor((2,)),), {})


def test_constants_behind_values() -> None:
    x = Input("x", Tensor((2,))).result
    one, two = Constant(np.array([[1.5]])).result, Constant(np.array([1, 2])).result
    assert constant_of(None) is None
    assert constant_of(x) is None
    assert constant_of(two) is not None
    assert scalar_of(one) == 1.5
    assert scalar_of(two) is None
    assert scalar_of(x) is None
