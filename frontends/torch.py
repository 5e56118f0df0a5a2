"""PyTorch models, those of Brevitas among them, by way of ONNX."""

from __future__ import annotations

import inspect
import io
import sys
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import onnx
from onnx import ModelProto

from lutra.frontends.onnx import import_model
from lutra.frontends.onnx.importer import Further
from lutra.ir.core import Module
from lutra.ir.errors import InputError
from lutra.ir.types import Array

if TYPE_CHECKING:
    import torch

OPSET = 17
"""Opset that models are exported in."""


def read(source: Any, *, examples: Any = None, further: Further | None = None) -> Module | None:
    """The graph `main` of a `torch.nn.Module`; None for anything else.

    examples: typical inputs (samples, ...), of which the first one is exported with: a tensor or
        array, or a dict of them by the names of `forward`'s parameters, or a tuple in their order.

    further: as of `import_model`.

    A model with layers of Brevitas brings its own quantization. Errors: I004 and I005 for the
    examples, I008 without Brevitas, F... as of `import_model`.
    """
    if not is_torch_model(source):
        return None
    if examples is None:
        raise InputError(
            "I005",
            "a PyTorch model needs examples of its inputs",
            help="pass `calibration=` typical inputs; one is enough where nothing is calibrated",
        )
    export = exported_brevitas if is_brevitas_model(source) else exported
    model = export(source, _in_order(source, examples))
    return import_model(model, native=True, further=further)


def _in_order(model: torch.nn.Module, examples: Any) -> tuple[Any, ...]:
    """Examples in the order of the model's inputs. Error I004 where one is missing."""
    if not isinstance(examples, Mapping):
        return examples if isinstance(examples, tuple) else (examples,)
    names = input_names(model, tuple(examples.values()))
    if missing := [name for name in names if name not in examples]:
        raise InputError(
            "I004",
            f"input {missing[0]!r} is missing among {', '.join(map(repr, examples))}",
            help="name inputs like the parameters of `forward`",
        )
    return tuple(examples[name] for name in names)


def is_torch_model(model: Any) -> TypeGuard[torch.nn.Module]:
    """Whether this is a `torch.nn.Module`. Imports PyTorch only if somebody else has."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)


def is_brevitas_model(model: torch.nn.Module) -> bool:
    """Whether the model has layers of Brevitas."""
    return any(type(layer).__module__.startswith("brevitas.") for layer in model.modules())


def to_array(given: Any) -> Array:
    """A tensor or array as an array."""
    return np.asarray(given.detach().cpu() if hasattr(given, "detach") else given)


def to_arrays(given: Any) -> tuple[Array, ...]:
    """A tensor or array, or a tuple of them, as a tuple of arrays."""
    return tuple(map(to_array, given if isinstance(given, tuple | list) else (given,)))


def exported(model: torch.nn.Module, dummy_input: Any) -> ModelProto:
    """The model as ONNX, for one sample, in evaluation mode.

    dummy_input: a tensor or array (samples, ...) for each input, of which the first sample is used.
    """
    import torch

    stream = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        _silence()
        torch.onnx.export(
            model,
            one_sample(dummy_input),
            stream,  # type: ignore[arg-type]  # the legacy exporter takes streams
            dynamo=False,  # the only exporter that needs no further package
            opset_version=OPSET,
            input_names=input_names(model, dummy_input),
        )
    return onnx.load_from_string(stream.getvalue())


def exported_brevitas(model: torch.nn.Module, dummy_input: Any) -> ModelProto:
    """A Brevitas model as QONNX, for one sample. Error I005 where it has no quantized layers."""
    export, quantized_layers = _brevitas()
    if not any(isinstance(layer, quantized_layers) for layer in model.modules()):
        raise InputError(
            "I005",
            "the model has no quantized layers of Brevitas",
            help="call compile_torch_model, with import_qat=True for other quantized models",
        )
    with warnings.catch_warnings():
        _silence()
        found: ModelProto = export(
            model,
            args=one_sample(dummy_input),
            opset_version=OPSET,
            dynamo=False,
            input_names=input_names(model, dummy_input),
            keep_initializers_as_inputs=False,
        )
    return found


def input_names(model: torch.nn.Module, dummy_input: Any) -> list[str]:
    """Names of the inputs: those of the parameters of `forward`, where it has so many."""
    count = len(to_arrays(dummy_input))
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(model.forward).parameters.values()
    names = [parameter.name for parameter in parameters if parameter.kind in kinds]
    return names[:count] if len(names) >= count else [f"x{index}" for index in range(count)]


def one_sample(dummy_input: Any) -> tuple[torch.Tensor, ...]:
    """The first sample of each input, with its batch axis; doubles become floats."""
    import torch

    def first(array: Array) -> torch.Tensor:
        sample = torch.from_numpy(np.array(array[:1] if array.ndim > 1 else array))
        return sample.float() if sample.dtype == torch.float64 else sample

    return tuple(map(first, to_arrays(dummy_input)))


def _brevitas() -> tuple[Any, tuple[type, ...]]:
    """Its exporter, and the classes of its layers. Error I008 where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of packages that would make it faster
            import onnxoptimizer  # noqa: F401
            from brevitas.export import export_qonnx
            from brevitas.nn.quant_layer import QuantInputOutputLayer, QuantNonLinearActLayer
    except ModuleNotFoundError as error:
        raise InputError(
            "I008",
            f"{error.name} is not installed",
            help="install Lutra's extra `brevitas`",
        ) from error
    return export_qonnx, (QuantInputOutputLayer, QuantNonLinearActLayer)


def _silence() -> None:
    """Of the exporters' warnings, those about themselves."""
    warnings.simplefilter("ignore", DeprecationWarning)
    warnings.simplefilter("ignore", FutureWarning)
    warnings.filterwarnings("ignore", "Named tensors and all their associated APIs", UserWarning)
