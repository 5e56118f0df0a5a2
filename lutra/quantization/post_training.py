"""From float or quantization-aware models to quantized modules, through Lutra's pipelines."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

import lutra
from lutra.ir.errors import InputError
from lutra.ir.types import Array
from lutra.passes import Pipeline
from lutra.passes.cheapest import Cheapest
from lutra.quantization.bits import Rounding, get_n_bits_dict
from lutra.quantization.notices import no_effect
from lutra.quantization.numpy_module import NumpyModule
from lutra.quantization.quantized_module import QuantizedModule

AUTO_BITS = (8, 7, 6, 5, 4, 3)
"""Numbers of bits among which `rounding_threshold_bits="auto"` chooses."""


class ONNXConverter:
    """Turns a model into a `QuantizedModule`; subclasses say by which pipeline.

    n_bits: as of `get_n_bits_dict`. `model_outputs` has no effect: results are decrypted as wide as
        they are computed.
    numpy_model: the model.
    rounding_threshold_bits: None keeps all bits of what look-ups read; a number of bits rounds
        exactly; {"method": "APPROXIMATE", "n_bits": 6} approximately, which is cheaper. "auto" bits
        are those of the lowest price whose error on the calibration data is hardly above the least.
    accumulator: bits that every accumulator fits, without rounding: whatever the inputs if it is
        `guaranteed`, else for the calibration data, with a margin before look-ups.
    """

    exact_road: ClassVar[str] = "narrow"
    """The named pipeline that rounds nothing,"""

    rounded_road: ClassVar[str] = "wide"
    """and the one that rounds."""

    def __init__(
        self,
        n_bits: int | Mapping[str, int],
        numpy_model: NumpyModule,
        rounding_threshold_bits: Any = None,
        *,
        accumulator: int | None = None,
        guaranteed: bool = True,
    ) -> None:
        self.n_bits = get_n_bits_dict(n_bits)
        self.accumulator = accumulator
        self.guaranteed = guaranteed
        self.numpy_model = numpy_model
        self.rounding_threshold_bits = rounding_threshold_bits
        self._rounding = Rounding.of(rounding_threshold_bits)

    @property
    def n_bits_model_inputs(self) -> int:
        """Bits of the model's inputs."""
        return self.n_bits["model_inputs"]

    @property
    def n_bits_model_outputs(self) -> int:
        """Bits asked for the model's outputs."""
        return self.n_bits["model_outputs"]

    @property
    def n_bits_op_inputs(self) -> int:
        """Bits of what layers read."""
        return self.n_bits["op_inputs"]

    @property
    def n_bits_op_weights(self) -> int:
        """Bits of weights."""
        return self.n_bits["op_weights"]

    @property
    def pipeline(self) -> str:
        """The text of the pipeline that quantizes so; `lutra.compile` takes it, or any other."""
        rounding = self._rounding
        if rounding is None or rounding.bits is not None:
            return self._road(rounding)
        choices = [Rounding(bits, rounding.exact) for bits in AUTO_BITS]
        return str(Pipeline.of(Cheapest(tuple((f"{r.bits} bits", self._road(r)) for r in choices))))

    def _road(self, rounding: Rounding | None) -> str:
        bits = (
            f"weights={self.n_bits_op_weights},activations={self.n_bits_op_inputs},"
            f"inputs={self.n_bits_model_inputs}"
        )
        if self.accumulator is not None:
            bits += f",accumulator={self.accumulator},guaranteed={str(self.guaranteed).lower()}"
        if rounding is None:
            return f"{self.exact_road}{{{bits}}}"
        exact = str(rounding.exact).lower()
        return f"{self.rounded_road}{{{bits},rounding={rounding.bits},exact={exact}}}"

    def quantize_module(
        self, *calibration_data: Array, keep_onnx: bool = True, clear: Collection[str] = ()
    ) -> QuantizedModule:
        """The quantized module. It predicts in the clear; `compile` it to encrypt.

        calibration_data: typical inputs (samples, ...), one array for each input of the model.
        keep_onnx: keep the ONNX model as `onnx_model`.
        clear: names of inputs that are not encrypted, as of `lutra.compile`.

        Errors: those of `lutra.compile`. B003 where look-ups read too many bits: round, or take
        fewer bits.
        """
        data = _named(self.numpy_model, calibration_data)
        model = lutra.compile(self.numpy_model.onnx_model, data, self.pipeline, clear=clear)
        onnx_model = self.numpy_model.onnx_model if keep_onnx else None
        return QuantizedModule(onnx_model=onnx_model, model=model)


class PostTrainingAffineQuantization(ONNXConverter):
    """Quantizes a float model by what it computes on calibration data.

    is_signed: has no effect: weights are signed, activations are not, zero points are free.
    """

    def __init__(
        self,
        n_bits: int | Mapping[str, int],
        numpy_model: NumpyModule,
        rounding_threshold_bits: Any = None,
        is_signed: bool = True,
        *,
        accumulator: int | None = None,
        guaranteed: bool = True,
    ) -> None:
        super().__init__(
            n_bits,
            numpy_model,
            rounding_threshold_bits,
            accumulator=accumulator,
            guaranteed=guaranteed,
        )
        if not is_signed:
            no_effect("is_signed=False", "weights are signed, activations are not")


class PostTrainingQATImporter(ONNXConverter):
    """Takes over the quantization that a model brings.

    That is what quantizers in the model say, and weights that are multiples of one step, of
    `n_bits` bits at most. `n_bits` is for the rest, too: activations that take few values, from
    least to greatest, keep them all where it is their number of bits.
    """

    exact_road = rounded_road = "qat"

    def _road(self, rounding: Rounding | None) -> str:
        steps = f"import-quantized,clean,find-grids{{bits={max(2, self.n_bits_op_weights)}}}"
        return f"{steps},{super()._road(rounding)}"


def _named(model: NumpyModule, arrays: Sequence[Any]) -> dict[str, Any]:
    names = model.input_names
    if len(arrays) != len(names):
        raise InputError(
            "I004",
            f"{len(arrays)} calibration arrays are given, the model has {len(names)} inputs: "
            f"{', '.join(names)}",
        )
    return dict(zip(names, arrays, strict=True))
