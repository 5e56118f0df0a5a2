"""Small models to compile, and data for them."""

import numpy as np
import onnx

from lutra.ir.types import Array
from onnx_models import model_of

FEW_BITS = "default{weights=2,activations=2,inputs=2,rounding=none}"
"""Look-ups of about four bits, exact: keys in seconds, the same integers under encryption."""


def tensor(name: str, array: Array) -> str:
    """An initializer in ONNX's text."""
    sizes = ",".join(map(str, array.shape))
    return f"float[{sizes}] {name} = {{{','.join(str(x) for x in array.reshape(-1))}}}"


def mlp(inputs: int = 2, hidden: int = 3, outputs: int = 2, batch: str = "N") -> onnx.ModelProto:
    """inputs - hidden - outputs, with a ReLU between: x float[batch, inputs] -> y."""
    rng = np.random.default_rng(1)
    w1, w2 = rng.normal(size=(inputs, hidden)), rng.normal(size=(hidden, outputs))
    return model_of(
        f"mlp (float[{batch},{inputs}] x) => (float[{batch},{outputs}] y)"
        f"<{tensor('w1', w1.round(2))}, {tensor('w2', w2.round(2))}>"
        "{ [fc1] h = MatMul(x, w1)  [act] r = Relu(h)  [fc2] y = MatMul(r, w2) }"
    )


def points(count: int = 100, inputs: int = 2, seed: int = 0) -> Array:
    """Uniform float32 inputs (count, inputs) within -1 and 1."""
    return np.random.default_rng(seed).uniform(-1, 1, (count, inputs)).astype(np.float32)
