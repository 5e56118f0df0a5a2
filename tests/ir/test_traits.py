"""The table of ONNX operators holds what ONNX itself says."""

import numpy as np
import onnx
import pytest

from lutra.ir import ort
from lutra.ir.core import Input
from lutra.ir.ops import Constant, Onnx
from lutra.ir.traits import NONDECREASING, TRAITS, WEIGHTED, Trait, trait
from lutra.ir.types import Tensor


@pytest.mark.parametrize("name", sorted(TRAITS))
def test_every_operator_exists(name: str) -> None:
    newest = onnx.defs.onnx_opset_version()
    assert onnx.defs.has(name, newest)
    assert not onnx.defs.get_schema(name, newest).deprecated


def test_special_operators_have_the_trait_they_belong_to() -> None:
    assert all(TRAITS[name] is Trait.LINEAR for name in WEIGHTED)
    assert all(TRAITS[name] is Trait.ELEMENTWISE for name in NONDECREASING)


@pytest.mark.parametrize("name", sorted(NONDECREASING))
def test_monotone_operators(name: str) -> None:
    x = np.linspace(-9, 9, 2001, dtype=np.float32)
    op = Onnx.make(name, [Input("x", Tensor((2001,))).result])
    (y,) = ort.Session(ort.model_of([op], op.operands, op.results)).run([x])
    assert (np.diff(y.astype(np.float64)) >= -1e-6 * np.abs(y[1:])).all()


def test_other_domains_are_opaque() -> None:
    x = Input("x", Tensor((2,))).result
    assert trait(Onnx.make("Relu", [x])) is Trait.ELEMENTWISE
    assert trait(Onnx((x,), "Relu", (Tensor((2,)),), {}, "mine")) is Trait.OPAQUE
    assert trait(Onnx.make("Bernoulli", [x])) is Trait.OPAQUE


def test_interpolation_computes_and_copying_does_not() -> None:
    x = Input("x", Tensor((1, 1, 2, 2))).result
    scales = Constant(np.array([1, 1, 2, 2], np.float32)).result
    assert trait(Onnx.make("Resize", [x, None, scales])) is Trait.STRUCTURAL
    assert trait(Onnx.make("Resize", [x, None, scales], mode="linear")) is Trait.COMPOSED
