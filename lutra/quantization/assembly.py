"""Layers put together by hand, as an ONNX model.

QONNX's quantizers stand before the layers that compute on integers. The pipeline `qat` compiles
the model: the quantizers' integers are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from onnx import ModelProto

from lutra.ir.errors import InputError, did_you_mean
from lutra.ir.types import Array
from lutra.quantization.base_quantized_op import QuantizedOp, model_of_nodes
from lutra.quantization.quantizers import UniformQuantizer
from lutra.quantization.tracing import Tape

Layers: TypeAlias = Mapping[str, tuple[Sequence[str], QuantizedOp]]
"""By the name of its result, the names of what a layer reads, and the layer; in order."""


def model_of(
    inputs: Mapping[str, UniformQuantizer], outputs: Sequence[str], layers: Layers
) -> ModelProto:
    """The ONNX model of calibrated layers. Error I005 for names that nothing has, or no layers."""
    grids = dict(inputs)
    quantized: dict[str, str] = {}
    tape = Tape("by_hand")
    for result, (sources, layer) in layers.items():
        for source in sources:
            if source not in grids:
                help = did_you_mean(source, [*grids])
                raise InputError("I005", f"layer {result!r} reads {source!r}", help=help)
        names = list(sources)
        if layer.is_weighted() or len(sources) > 1:
            for index, source in enumerate(sources):
                if source not in quantized:
                    quantized[source] = f"{source}/quantized"
                    tape.quantize(grids[source], source, quantized[source])
                names[index] = quantized[source]
        grids[result] = layer.write(tape, names, result, [grids[source] for source in sources])
    unknown = [name for name in outputs if name not in layers]
    if unknown or not outputs:
        raise InputError("I005", f"outputs {unknown} are no layers' results")
    shapes = {name: array.shape[1:] for name, array in samples_of([*inputs], layers).items()}
    return model_of_nodes(shapes, outputs, tape)


def samples_of(inputs: Sequence[str], layers: Layers) -> dict[str, Array]:
    """What calibrated layers saw of a module's inputs (samples, ...), by name."""
    found: dict[str, Array] = {}
    for sources, layer in layers.values():
        for source, array in zip(sources, layer.samples, strict=True):
            if source in inputs:
                found.setdefault(source, array)
    return found
