"""Models in the clear: a PyTorch or ONNX model as a function of arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto

from lutra.frontends.registry import import_source
from lutra.ir.errors import InputError
from lutra.ir.program import Program
from lutra.ir.types import Array
from lutra.signature import Signature


class NumpyModule:
    """The float model behind a quantized one: callable on arrays (samples, ...).

    model: a `torch.nn.Module`, an `onnx.ModelProto` of any opset that Lutra reads, or a path.
    dummy_input: a tensor for each input of a PyTorch model, of which its shapes are taken.
    debug_onnx_output_file_path: where to keep the ONNX model that PyTorch exports.

    Errors: I005 for a PyTorch model without `dummy_input`; F... for what Lutra does not read.
    """

    def __init__(
        self,
        model: Any,
        dummy_input: Any = None,
        debug_onnx_output_file_path: str | Path | None = None,
    ) -> None:
        from lutra.quantization.inlining import inlined

        given = model if isinstance(model, ModelProto) else _exported(model, dummy_input)
        self._onnx_model = inlined(given)
        if debug_onnx_output_file_path is not None:
            Path(debug_onnx_output_file_path).write_bytes(self._onnx_model.SerializeToString())
        module = import_source(self._onnx_model)
        self._signature = Signature.of(module)
        self._program = Program(module)

    @property
    def onnx_model(self) -> ModelProto:
        """The model as ONNX."""
        return self._onnx_model

    @property
    def onnx_preprocessing(self) -> None:
        """None: what comes before the first layer is the client's part of the model."""
        return None

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the model's inputs, in its order."""
        return tuple(port.name for port in self._signature.inputs)

    def __call__(self, *args: Array) -> Any:
        """`forward(*args)`"""
        return self.forward(*args)

    def forward(self, *args: Array) -> Any:
        """The model's output, one array or a tuple, for one array (samples, ...) for each input.

        Errors I001 to I004 where they do not fit.
        """
        if len(args) != len(self.input_names):
            raise InputError(
                "I004",
                f"{len(args)} inputs are given, the model has {len(self.input_names)}: "
                f"{', '.join(self.input_names)}",
            )
        batch = self._signature.arrange(dict(zip(self.input_names, args, strict=True)))
        results = self._signature.release(self._program.run(batch.arrays), batch.form)
        return results[0] if len(results) == 1 else tuple(map(np.asarray, results))

    numpy_forward = forward

    def pre_processing(self, *args: Array) -> tuple[Array, ...]:
        """The arguments themselves; see `onnx_preprocessing`."""
        return args


def _exported(model: Any, dummy_input: Any) -> ModelProto:
    from lutra.frontends.torch import exported, is_torch_model

    if not is_torch_model(model):
        import onnx

        if isinstance(model, str | Path):
            return onnx.load(str(model))
        raise InputError(
            "I005", f"model is a {type(model).__name__}, no torch.nn.Module or onnx.ModelProto"
        )
    if dummy_input is None:
        raise InputError("I005", "a PyTorch model needs `dummy_input`", help="give a tensor")
    return exported(model, dummy_input)
