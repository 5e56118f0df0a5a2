"""From float or quantization-aware models to quantized modules, through Lutra's pipelines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

import lutra
from lutra.ir.errors import InputError
from lutra.ir.types import Array
from lutra.model import Model
from lutra.quantization.bits import Rounding, get_n_bits_dict
from lutra.quantization.notices import no_effect
from lutra.quantization.numpy_module import NumpyModule
from lutra.quantization.quantized_module import QuantizedModule

AUTO_BITS = range(2, 9)
"""Numbers of bits among which `rounding_threshold_bits="auto"` chooses."""

AUTO_TOLERANCE = 1.1
"""How much larger the error may be than with the most of these bits; or else"""

AUTO_ERROR = 0.02
"""what part of the outputs' standard deviation it may be."""


class ONNXConverter:
    """Turns a model into a `QuantizedModule`; subclasses say by which pipeline.

    n_bits: as of `get_n_bits_dict`. `model_outputs` has no effect: results are decrypted as wide as
        they are computed.
    numpy_model: the model.
    rounding_threshold_bits: None keeps all bits of what look-ups read; a number of bits rounds
        exactly; {"method": "APPROXIMATE", "n_bits": 6} approximately, which is cheaper. Of "auto",
        the fewest bits whose error on the calibration data is small, or hardly above that of 8.
    """

    preset: ClassVar[str] = "default"
    """The named pipeline."""

    def __init__(
        self,
        n_bits: int | Mapping[str, int],
        numpy_model: NumpyModule,
        rounding_threshold_bits: Any = None,
    ) -> None:
        self.n_bits = get_n_bits_dict(n_bits)
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

    def pipeline(self, rounding: Rounding | None) -> str:
        """The pipeline that quantizes so; any other can be given to `lutra.compile`."""
        kept = "none" if rounding is None else rounding.bits
        exact = str(rounding is None or rounding.exact).lower()
        return (
            f"{self.preset}{{weights={self.n_bits_op_weights},activations={self.n_bits_op_inputs},"
            f"inputs={self.n_bits_model_inputs},rounding={kept},exact={exact}}}"
        )

    def quantize_module(self, *calibration_data: Array, keep_onnx: bool = True) -> QuantizedModule:
        """The quantized module. It predicts in the clear; `compile` it to encrypt.

        calibration_data: typical inputs (samples, ...), one array for each input of the model.
        keep_onnx: keep the ONNX model as `onnx_model`.

        Errors: those of `lutra.compile`. B003 where look-ups read too many bits: round, or take
        fewer bits.
        """
        data = _named(self.numpy_model, calibration_data)
        rounding = self._rounding
        if rounding is not None and rounding.bits is None:
            model = self._fewest_bits(data, rounding.exact)
        else:
            model = self._compiled(data, rounding)
        return QuantizedModule(model, self.numpy_model.onnx_model if keep_onnx else None)

    def _compiled(self, data: Mapping[str, Array], rounding: Rounding | None) -> Model:
        return lutra.compile(self.numpy_model.onnx_model, data, self.pipeline(rounding))

    def _fewest_bits(self, data: Mapping[str, Array], exact: bool) -> Model:
        """The model rounded to the fewest bits whose error is small or hardly rises."""
        expected = _flat(self.numpy_model.forward(*data.values()))

        def error(model: Model) -> float:
            return float(np.square(_flat(model.predict(data)) - expected).mean() ** 0.5)

        most = AUTO_BITS[-1]
        chosen = self._compiled(data, Rounding(most, exact))
        bound = max(AUTO_TOLERANCE * error(chosen), AUTO_ERROR * float(expected.std()))
        for bits in reversed(AUTO_BITS[:-1]):
            candidate = self._compiled(data, Rounding(bits, exact))
            if error(candidate) > bound:
                break
            chosen = candidate
        return chosen


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
    ) -> None:
        super().__init__(n_bits, numpy_model, rounding_threshold_bits)
        if not is_signed:
            no_effect("is_signed=False", "weights are signed, activations are not")


class PostTrainingQATImporter(ONNXConverter):
    """Takes over the quantization that a model brings; `n_bits` is for what it leaves as floats."""

    preset = "qat"


def _named(model: NumpyModule, arrays: Sequence[Any]) -> dict[str, Any]:
    names = model.input_names
    if len(arrays) != len(names):
        raise InputError(
            "I004",
            f"{len(arrays)} calibration arrays are given, the model has {len(names)} inputs: "
            f"{', '.join(names)}",
        )
    return dict(zip(names, arrays, strict=True))


def _flat(outputs: Any) -> Array:
    parts = outputs if isinstance(outputs, tuple) else (outputs,)
    return np.concatenate([np.asarray(part, np.float64).reshape(-1) for part in parts])
