"""Models for clients: of one sample, or of any number where the graph bears it."""

from __future__ import annotations

import numpy as np
import onnx

from lutra.backends.onnx.emission import model_of
from lutra.ir import ort
from lutra.ir.core import Graph, Value
from lutra.ir.errors import ModelError
from lutra.ir.types import Array, Int, Tensor

PROBES = 3
"""Samples on which a model with an open first axis is tried."""


def client_model(graph: Graph) -> onnx.ModelProto:
    """The model of a graph in its types' own shapes, as whoever runs the ONNX model knows them.

    Where the first axis is a batch of one everywhere, and random samples give the same together as
    one by one, it is left open: the model runs whole batches.
    """
    if has_batch(graph):
        model = model_of(graph, "first")
        if takes_batches(model, graph):
            return model
    return model_of(graph)


def has_batch(graph: Graph) -> bool:
    """Whether the first axis of all inputs and outputs is of size 1."""
    ends = [*(node.result for node in graph.inputs), *graph.outputs]
    return bool(graph.inputs) and all(value.shape[:1] == (1,) for value in ends)


def takes_batches(model: onnx.ModelProto, graph: Graph) -> bool:
    """Whether a graph's model with an open first axis gives the same for samples together."""
    random = np.random.default_rng(0)
    arrays = [_probes(node.result, random) for node in graph.inputs]
    try:
        session = ort.Session(model)
        together = session.run(arrays)
        singles = [session.run([array[i : i + 1] for array in arrays]) for i in range(PROBES)]
    except ModelError:
        return False
    return all(
        whole.shape == (PROBES, *value.shape[1:])
        and np.allclose(whole, np.concatenate(parts), rtol=1e-4, equal_nan=True)
        for whole, value, *parts in zip(together, graph.outputs, *singles, strict=True)
    )


def _probes(value: Value, random: np.random.Generator) -> Array:
    shape = (PROBES, *value.shape[1:])
    if isinstance(value.type, Int):
        return random.integers(value.type.min, value.type.max + 1, shape)
    assert isinstance(value.type, Tensor)
    dtype = np.dtype(value.type.dtype)
    if dtype.kind in "iub":
        return random.integers(0, 2, shape).astype(dtype)
    return random.normal(size=shape).astype(dtype)
