"""Integer circuits in onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx

from lutra.backends.onnx.emission import model_of
from lutra.ir import ort
from lutra.ir.core import Graph, Input
from lutra.ir.errors import InputError
from lutra.ir.types import Array


class OnnxExecutable:
    """A circuit as an ONNX model, run in onnxruntime on whole batches.

    `model` takes and returns int64 arrays (samples, *shape).
    """

    def __init__(self, circuit: Graph) -> None:
        self.model: onnx.ModelProto = model_of(circuit, "leading")
        self._circuit = circuit
        # onnxruntime refuses models without results
        self._session = ort.Session(self.model) if circuit.outputs else None

    def run(self, *inputs: Array) -> tuple[Array, ...]:
        """Integers (samples, *shape) for each input; so the results. Errors I001, I002, I004."""
        nodes = self._circuit.inputs
        if len(inputs) != len(nodes):
            raise InputError("I004", f"{len(inputs)} inputs are given, not {len(nodes)}")
        arrays = [np.asarray(array) for array in inputs]
        for node, array in zip(nodes, arrays, strict=True):
            if array.ndim == 0 or array.shape[1:] != node.type.shape:
                sizes = "".join(f", {size}" for size in node.type.shape)
                raise InputError(
                    "I001", f"input {node.name!r} has shape {array.shape}, not (samples{sizes})"
                )
            if array.dtype.kind not in "iub":
                raise InputError("I002", f"input {node.name!r} holds {array.dtype}, not integers")
            type = node.result.int_type
            if array.size and (array.min() < type.min or array.max() > type.max):
                raise InputError(
                    "I002",
                    f"input {node.name!r} reaches [{array.min()}, {array.max()}], "
                    f"outside of {type}",
                )
        if len({len(array) for array in arrays}) > 1:
            counts = ", ".join(str(len(array)) for array in arrays)
            raise InputError("I001", f"inputs differ in their number of samples: {counts}")
        if self._session is None:
            return ()
        if any(len(array) == 0 for array in arrays):  # onnxruntime multiplies no empty batches
            one = self.run(*(np.full((1, *node.type.shape), _least(node)) for node in nodes))
            return tuple(array[:0] for array in one)
        return tuple(self._session.run([array.astype(np.int64) for array in arrays]))


def _least(node: Input) -> int:
    return node.result.int_type.min
