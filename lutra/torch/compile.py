"""From PyTorch and ONNX models to compiled quantized modules, in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto

from lutra.frontends.torch import exported_brevitas, to_arrays
from lutra.ir.errors import InputError
from lutra.quantization.bits import get_n_bits_dict
from lutra.quantization.configuration import clear_inputs
from lutra.quantization.numpy_module import NumpyModule
from lutra.quantization.post_training import (
    PostTrainingAffineQuantization,
    PostTrainingQATImporter,
)
from lutra.quantization.quantized_module import QuantizedModule

N_BITS = 8
"""Bits where `n_bits` is not given."""

QAT_ROLES = ("model_inputs", "model_outputs")


def build_quantized_module(
    model: Any,
    torch_inputset: Any,
    import_qat: bool = False,
    n_bits: int | Mapping[str, int] = N_BITS,
    rounding_threshold_bits: Any = None,
    reduce_sum_copy: bool = False,
    keep_onnx: bool = True,
    *,
    accumulator: int | None = None,
    guaranteed: bool = True,
    inputs_encryption_status: Sequence[str] | None = None,
) -> QuantizedModule:
    """A quantized module of a PyTorch or ONNX model, not yet compiled.

    model: a `torch.nn.Module` or `onnx.ModelProto`.
    torch_inputset: typical inputs (samples, ...), tensors or arrays; a tuple for several inputs.
    import_qat: take over the quantization that the model brings, by `PostTrainingQATImporter`.
    n_bits, rounding_threshold_bits, keep_onnx, accumulator, guaranteed: as of
        `PostTrainingAffineQuantization`.
    reduce_sum_copy: has no effect, and warns.
    inputs_encryption_status: "encrypted" or "clear" for each input; the server gets to know those
        that are clear.
    """
    arrays = to_arrays(torch_inputset)
    numpy_model = NumpyModule(model, arrays)
    converter = PostTrainingQATImporter if import_qat else PostTrainingAffineQuantization
    converted = converter(
        n_bits,
        numpy_model,
        rounding_threshold_bits,
        accumulator=accumulator,
        guaranteed=guaranteed,
    )
    clear = clear_inputs(numpy_model.input_names, inputs_encryption_status)
    module = converted.quantize_module(*arrays, keep_onnx=keep_onnx, clear=clear)
    if reduce_sum_copy:
        module.set_reduce_sum_copy()
    return module


def compile_torch_model(
    torch_model: Any,
    torch_inputset: Any,
    import_qat: bool = False,
    configuration: Any = None,
    artifacts: Any = None,
    show_mlir: bool = False,
    n_bits: int | Mapping[str, int] = N_BITS,
    rounding_threshold_bits: Any = None,
    p_error: float | None = None,
    global_p_error: float | None = None,
    verbose: bool = False,
    inputs_encryption_status: Sequence[str] | None = None,
    reduce_sum_copy: bool = False,
    device: str = "cpu",
) -> QuantizedModule:
    """Quantize a PyTorch model and compile it into a circuit for encrypted data.

    The first arguments are those of `build_quantized_module`, the others those of
    `QuantizedModule.compile`. Needs the extra `torch`.
    """
    module = build_quantized_module(
        torch_model,
        torch_inputset,
        import_qat,
        n_bits,
        rounding_threshold_bits,
        reduce_sum_copy,
        inputs_encryption_status=inputs_encryption_status,
    )
    module.compile(
        to_arrays(torch_inputset),
        configuration,
        artifacts,
        show_mlir,
        p_error,
        global_p_error,
        verbose,
        inputs_encryption_status,
        device,
    )
    return module


def compile_onnx_model(
    onnx_model: ModelProto,
    torch_inputset: Any,
    import_qat: bool = False,
    configuration: Any = None,
    artifacts: Any = None,
    show_mlir: bool = False,
    n_bits: int | Mapping[str, int] = N_BITS,
    rounding_threshold_bits: Any = None,
    p_error: float | None = None,
    global_p_error: float | None = None,
    verbose: bool = False,
    inputs_encryption_status: Sequence[str] | None = None,
    reduce_sum_copy: bool = False,
    device: str = "cpu",
) -> QuantizedModule:
    """The same for an ONNX model of any opset that Lutra reads. Does not need PyTorch."""
    return compile_torch_model(
        onnx_model,
        torch_inputset,
        import_qat,
        configuration,
        artifacts,
        show_mlir,
        n_bits,
        rounding_threshold_bits,
        p_error,
        global_p_error,
        verbose,
        inputs_encryption_status,
        reduce_sum_copy,
        device,
    )


def compile_brevitas_qat_model(
    torch_model: Any,
    torch_inputset: Any,
    n_bits: int | Mapping[str, int] | None = None,
    configuration: Any = None,
    artifacts: Any = None,
    show_mlir: bool = False,
    rounding_threshold_bits: Any = None,
    p_error: float | None = None,
    global_p_error: float | None = None,
    output_onnx_file: str | Path | None = None,
    verbose: bool = False,
    inputs_encryption_status: Sequence[str] | None = None,
    reduce_sum_copy: bool = False,
    device: str = "cpu",
) -> QuantizedModule:
    """Compile a Brevitas model into a circuit that computes its own integers.

    n_bits: for what the model leaves as floats: a number, or {"model_inputs": ...,
        "model_outputs": ...}; 8 where none is given.
    output_onnx_file: where to keep the exported model.

    The other arguments are those of `compile_torch_model`. Needs the extra `brevitas`. Error I005
    where the model has no quantized layers.
    """
    bits = _qat_bits(n_bits)
    arrays = to_arrays(torch_inputset)
    onnx_model = exported_brevitas(torch_model, tuple(a.astype(np.float32) for a in arrays))
    if output_onnx_file is not None:
        Path(output_onnx_file).write_bytes(onnx_model.SerializeToString())
    return compile_onnx_model(
        onnx_model,
        arrays,
        True,
        configuration,
        artifacts,
        show_mlir,
        bits,
        rounding_threshold_bits,
        p_error,
        global_p_error,
        verbose,
        inputs_encryption_status,
        reduce_sum_copy,
        device,
    )


def _qat_bits(n_bits: int | Mapping[str, int] | None) -> dict[str, int]:
    """Bits by role of what a quantization-aware model leaves as floats."""
    if not isinstance(n_bits, Mapping):
        bits = N_BITS if n_bits is None else n_bits
        every = get_n_bits_dict(bits)
        return dict.fromkeys(every, bits)
    if set(n_bits) != set(QAT_ROLES):
        raise InputError(
            "I005",
            f"n_bits={dict(n_bits)}",
            help=f"of a quantization-aware model, give {' and '.join(QAT_ROLES)}",
        )
    inputs, outputs = (n_bits[role] for role in QAT_ROLES)
    return get_n_bits_dict(
        {
            "model_inputs": inputs,
            "op_inputs": inputs,
            "op_weights": inputs,
            "model_outputs": outputs,
        }
    )
