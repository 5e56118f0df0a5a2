"""ONNX's own Attention between layers: without infinite values, whatever masks it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from lutra.frontends.onnx import import_model
from lutra.ir.interpreter import evaluate
from lutra.ir.ops import Constant, Onnx
from lutra.ir.types import Array
from lutra.passes import Pipeline
from onnx_models import model_of

TRIANGLE = np.tril(np.ones((4, 4), bool))
MASKS = {
    "none": None,
    "causal": None,
    "boolean": TRIANGLE,
    "infinite": np.where(TRIANGLE, 0.5, -np.inf).astype(np.float32),
    "large": np.where(TRIANGLE, 0, -1e9).astype(np.float32),
    "a whole row": TRIANGLE & (np.arange(4) > 0)[:, None],
}


def attention(mask: Array | None, causal: int) -> onnx.ModelProto:
    given = "" if mask is None else ", mask"
    attributes = f"q_num_heads=2, kv_num_heads=2, is_causal={causal}"
    model = model_of(
        f"""g (float[N, 4, 4] x) => (float[N, 4, 3] y) {{
          q = MatMul(x, wq)  k = MatMul(x, wk)  v = MatMul(x, wv)
          [attention] a = Attention<{attributes}>(q, k, v{given})
          y = MatMul(a, wy) }}""",
        23,
    )
    rng = np.random.default_rng(0)
    weights = {name: rng.standard_normal((4, 4)).astype("f") for name in ("wq", "wk", "wv")}
    weights["wy"] = rng.standard_normal((4, 3)).astype("f")
    for name, array in weights.items() if mask is None else [*weights.items(), ("mask", mask)]:
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return model


@pytest.mark.parametrize("kind", MASKS)
def test_attention_of_products_and_functions(kind: str) -> None:
    module = import_model(attention(MASKS[kind], int(kind == "causal")))
    x = np.random.default_rng(1).standard_normal((8, 1, 4, 4)).astype(np.float32)
    (wanted,) = evaluate(module.main, [x])
    Pipeline.parse("clean,check-support").execute(module)
    (found,) = evaluate(module.main, [x])
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert np.isfinite(wanted).all()
    kinds = {op.op_type for op in module.main.of(Onnx)}
    assert not kinds & {"Attention", "Softmax"}
    numbers = [op.value for op in module.main.of(Constant) if op.value.dtype.kind == "f"]
    assert all(np.isfinite(array).all() and np.abs(array).max() < 1e4 for array in numbers)
