"""Quantized models that predict in the clear, simulated and encrypted: a face of `lutra.Model`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto

import lutra
from lutra.artifact import Artifact, packed
from lutra.ir.errors import ArtifactError, InputError, did_you_mean
from lutra.ir.interpreter import Interpreter
from lutra.ir.ops import Quantize
from lutra.ir.types import Array, Shape
from lutra.model import Mode, Model
from lutra.quantization.assembly import Layers, model_of, samples_of
from lutra.quantization.circuit import CircuitGraph, FheCircuit
from lutra.quantization.configuration import clear_inputs, options_of
from lutra.quantization.notices import no_effect
from lutra.quantization.quantizers import UniformQuantizer
from lutra.quantization.serialization import Serializable, bytes_of, text_of

DEFAULT_P_ERROR = 2.0**-40
"""Taken by `QuantizedModule.compile` where neither `p_error` nor `global_p_error` is given."""


class FheMode(str, Enum):
    """How a quantized module computes."""

    DISABLE = "disable"
    SIMULATE = "simulate"
    EXECUTE = "execute"

    @staticmethod
    def is_valid(fhe: FheMode | str) -> bool:
        """Whether there is a mode of that name."""
        return fhe in MODES


MODES: Mapping[str, Mode] = {"disable": "clear", "simulate": "simulate", "execute": "encrypt"}
"""What the modes are to `lutra.Model`."""


class NotCompiledError(InputError, AttributeError):
    """A module was to be simulated or executed before `compile`."""


class QuantizedModule(Serializable):
    """A model of integers between a step that quantizes its inputs and one that gives floats.

    `PostTrainingAffineQuantization`, `PostTrainingQATImporter` and the functions of `lutra.torch`
    and `lutra.onnx` make them.

    Arrays count samples on their first axis. Of a model with several inputs, methods take one array
    for each, in the model's order, and return tuples where there are several results.

    To put one together by hand, give the names of its inputs and outputs and, by the names of their
    results, its layers and what they read; then `set_inputs_quantization_parameters`:

        QuantizedModule(["x"], ["y"], {"h": (("x",), linear), "y": (("h",), sigmoid)})

    onnx_model: the model that it was made of, if that was kept.
    model: the `lutra.Model` that does the work.
    fhe_circuit: what runs under encryption; None before `compile`.
    """

    def __init__(
        self,
        ordered_module_input_names: Sequence[str] = (),
        ordered_module_output_names: Sequence[str] = (),
        quant_layers_dict: Layers | None = None,
        onnx_model: ModelProto | None = None,
        *,
        model: Model | None = None,
    ) -> None:
        self._model = model
        self._names = (tuple(ordered_module_input_names), tuple(ordered_module_output_names))
        self.quant_layers_dict: Layers = dict(quant_layers_dict or {})
        self.onnx_model = onnx_model
        self.fhe_circuit: FheCircuit | None = None
        self.post_processing_params: dict[str, Any] = {}

    @property
    def model(self) -> Model:
        """What does the work. Error I005 before a module made by hand knows its inputs."""
        if self._model is None:
            raise InputError(
                "I005",
                "the module's inputs have no quantizers",
                help="call `set_inputs_quantization_parameters`",
            )
        return self._model

    def set_inputs_quantization_parameters(self, *input_q_params: UniformQuantizer) -> None:
        """Say how the inputs of a module made by hand are quantized; its layers are calibrated.

        Error I005 for another number of quantizers, layers that are not calibrated, or names that
        nothing has.
        """
        inputs, outputs = self._names
        if len(input_q_params) != len(inputs) or not self.quant_layers_dict:
            raise InputError(
                "I005",
                f"{len(input_q_params)} quantizers are given for {len(inputs)} inputs and "
                f"{len(self.quant_layers_dict)} layers",
                help="this is for modules that are made of layers, by hand",
            )
        grids = dict(zip(inputs, input_q_params, strict=True))
        self.onnx_model = model_of(grids, outputs, self.quant_layers_dict)
        self._model = lutra.compile(
            self.onnx_model, samples_of(inputs, self.quant_layers_dict), "qat"
        )

    @property
    def ordered_module_input_names(self) -> tuple[str, ...]:
        if self._model is None:
            return self._names[0]
        return tuple(port.name for port in self.model.signature.inputs)

    @property
    def ordered_module_output_names(self) -> tuple[str, ...]:
        if self._model is None:
            return self._names[1]
        return tuple(port.name for port in self.model.signature.outputs)

    @property
    def input_quantizers(self) -> list[UniformQuantizer]:
        """How the circuit's inputs are quantized, for those that one scale quantizes."""
        ops = [value.owner for value in self.model.module.encode.outputs]
        return [_quantizer(op) for op in ops if isinstance(op, Quantize) and op.scale.size == 1]

    # --- predictions ------------------------------------------------------------------------------
    def __call__(self, *x: Array) -> Any:
        """`forward(*x)`"""
        return self.forward(*x)

    def forward(self, *x: Array, fhe: FheMode | str = FheMode.DISABLE, debug: bool = False) -> Any:
        """The model's outputs for floats (samples, ...).

        fhe: `disable` computes the integers in the clear, `simulate` with the circuit's look-up
            errors, `execute` under encryption; the last two after `compile`.
        debug: return as well, in mode `disable`, the integers that each layer computes: a dict of
            arrays (samples, ...) by the names of its ONNX nodes.

        Errors: I001 to I004 where x does not fit, I005 for another mode, `NotCompiledError`.
        """
        mode = self._mode(fhe)
        _require_floats(x)
        y = self.model.predict(self._named(x), mode)
        return (y, self._intermediate(x)) if debug and mode == "clear" else y

    def quantized_forward(self, *q_x: Array, fhe: FheMode | str = FheMode.DISABLE) -> Any:
        """The circuit's integer results for the integers that `quantize_input` gives."""
        mode = self._mode(fhe)
        nodes = self.model.module.circuit.inputs
        if len(q_x) != len(nodes):
            raise InputError("I004", f"{len(q_x)} inputs are given, the circuit has {len(nodes)}")
        q = [
            _with_batch_axis(_integers(a), node.type.shape)
            for a, node in zip(q_x, nodes, strict=True)
        ]
        return _alone(_without_batch_axis(a) for a in self.model.evaluate(q, mode))

    def forward_and_dequant(self, *q_x: Array) -> Any:
        """The model's outputs, in the clear, for the integers that `quantize_input` gives."""
        results = self.quantized_forward(*q_x)
        return self.dequantize_output(*(results if isinstance(results, tuple) else (results,)))

    def quantize_input(self, *x: Array, dtype: Any = np.int64) -> Any:
        """The circuit's inputs: integers (samples, ...) for floats (samples, ...)."""
        _require_floats(x)
        q = self.model.encode(self._named(x))
        return _alone(_without_batch_axis(array).astype(dtype) for array in q)

    def dequantize_output(self, *q_y_preds: Array) -> Any:
        """The model's outputs, for the circuit's integer results.

        All that the client computes after decryption is part of it, such as a last sigmoid. Error
        I004 for a model that needs its inputs again there: use `forward`.
        """
        shapes = [value.shape for value in self.model.module.circuit.outputs]
        if len(q_y_preds) != len(shapes):
            raise InputError("I004", f"{len(q_y_preds)} results are given, not {len(shapes)}")
        results = [
            _with_batch_axis(_integers(a), s) for a, s in zip(q_y_preds, shapes, strict=True)
        ]
        return _alone(_without_batch_axis(array) for array in self.model.decode(results))

    def pre_processing(self, *values: Array) -> tuple[Array, ...]:
        """The values themselves: what comes before quantization is part of `quantize_input`."""
        return values

    def post_processing(self, *values: Array) -> Any:
        """The values themselves: what comes after decryption is part of `dequantize_output`."""
        return _alone(values)

    # --- compiling --------------------------------------------------------------------------------
    def compile(
        self,
        inputs: Any = None,
        configuration: Any = None,
        artifacts: Any = None,
        show_mlir: bool = False,
        p_error: float | None = None,
        global_p_error: float | None = None,
        verbose: bool = False,
        inputs_encryption_status: Sequence[str] | None = None,
        device: str = "cpu",
    ) -> FheCircuit:
        """Make the circuit executable: cryptographic parameters and code. Returns it.

        inputs: looked at only to see whether they fit; the ranges of all integers are known since
            quantization.
        configuration: a mapping with options of the backend, such as {"strategy": "mono"}, or a
            `concrete.fhe.Configuration`.
        p_error, global_p_error: chance that one look-up is off, or any look-up of a sample; give
            one. 2^-40 for each look-up where none is given.
        show_mlir, verbose: print the program, and the report on what each layer costs.
        inputs_encryption_status: "encrypted" or "clear" for each input, as when the module was
            quantized, which is when it counts: see `build_quantized_module`.
        artifacts, device: warn where they ask for what has no effect.

        Errors: I001 to I005, B004 where there are no parameters for the circuit.
        """
        if inputs is not None:
            self.model.signature.arrange(self._named(_tuple(inputs)))
        if artifacts is not None:
            no_effect("artifacts", "give `progress=` or instruments to lutra.compile instead")
        self._check_encryption_status(inputs_encryption_status)
        _check_device(device)
        options = options_of(configuration, p_error, global_p_error, DEFAULT_P_ERROR)
        old = self.model
        self._model = Model(
            old.module,
            pipeline=old.pipeline,
            backend=old.backend,
            options=options,
            records=old.records,
            progress=old.progress,
        )
        _ = self.model.executable
        self.fhe_circuit = FheCircuit(self.model)
        if show_mlir:
            print(self.fhe_circuit.mlir)
        if verbose:
            print(self.model.report())
        return self.fhe_circuit

    @property
    def is_compiled(self) -> bool:
        return self.fhe_circuit is not None

    @property
    def forward_fhe(self) -> FheCircuit | None:
        """An older name of `fhe_circuit`."""
        return self.fhe_circuit

    def check_model_is_compiled(self) -> None:
        """`NotCompiledError`, also an AttributeError, unless `compile` was called."""
        if not self.is_compiled:
            raise NotCompiledError(
                "I005", "the module is not compiled", help="call `compile(inputset)` first"
            )

    def bitwidth_and_range_report(self) -> dict[str, dict[str, Any]]:
        """`{layer: {"range": (least, greatest), "bitwidth": bits}}` of the layers' integers.

        Layers go by the names of their ONNX nodes. The integers are what table look-ups read,
        before any rounding, and outputs.
        """
        found = CircuitGraph(self.model.module.circuit).accumulators()
        return {
            name: {"range": (type.min, type.max), "bitwidth": type.bits}
            for name, type in found.items()
        }

    def set_reduce_sum_copy(self) -> None:
        """Warns: sums never widen what is summed."""
        no_effect("reduce_sum_copy", "values have widths of their own, a sum widens none of them")

    # --- as JSON ----------------------------------------------------------------------------------
    def dump_dict(self) -> dict[str, Any]:
        """The model, as `module.model.save` writes it, and the ONNX model if that was kept."""
        kept = None if self.onnx_model is None else text_of(self.onnx_model.SerializeToString())
        return {"model": text_of(packed(self.model, deployable=False)), "onnx_model": kept}

    @classmethod
    def load_dict(cls, metadata: Any) -> QuantizedModule:
        """A module that predicts in the clear as that one did; `compile` it to encrypt.

        Errors A001 to A003.
        """
        model = Artifact.read(bytes_of(metadata, "model")).model()
        kept = metadata.get("onnx_model")
        onnx_model = None if kept is None else _proto(bytes_of(metadata, "onnx_model"))
        return cls(onnx_model=onnx_model, model=model)

    # --- inside -----------------------------------------------------------------------------------
    def _mode(self, fhe: FheMode | str) -> Mode:
        name = fhe.value if isinstance(fhe, FheMode) else fhe
        if name not in MODES:
            raise InputError("I005", f"no mode fhe={fhe!r}", help=did_you_mean(str(fhe), [*MODES]))
        if MODES[name] != "clear":
            self.check_model_is_compiled()
        return MODES[name]

    def _named(self, x: Sequence[Any]) -> dict[str, Any]:
        names = self.ordered_module_input_names
        if len(x) != len(names):
            raise InputError(
                "I004", f"{len(x)} inputs are given, the model has {len(names)}: {', '.join(names)}"
            )
        return dict(zip(names, x, strict=True))

    def _check_encryption_status(self, given: Sequence[str] | None) -> None:
        """Error I005 where an input is clear that is to be encrypted."""
        wanted = clear_inputs(self.ordered_module_input_names, given)
        clear = [port.name for port in self.model.signature.inputs if port.clear]
        if given is not None and not {*clear} <= {*wanted}:
            raise InputError(
                "I005",
                f"inputs_encryption_status={tuple(given)!r}, and {', '.join(clear)} is clear",
                help="quantize the model again, with inputs that are all encrypted",
            )
        if not {*wanted} <= {*clear}:
            no_effect(
                "inputs_encryption_status",
                "the module was quantized for encrypted inputs, which give the same results; "
                "give it to `build_quantized_module`",
                stacklevel=3,
            )

    def _intermediate(self, x: Sequence[Any]) -> dict[str, Array]:
        circuit = self.model.module.circuit
        values = [value for op in circuit.ops if op.operands and op.loc for value in op.results]
        arrays = Interpreter(circuit, values).run(self.model.encode(self._named(x)))
        pairs = zip(values, arrays, strict=True)
        return {" + ".join(value.owner.loc): _without_batch_axis(array) for value, array in pairs}


def _quantizer(op: Quantize) -> UniformQuantizer:
    bits = max(1, int(op.hi - op.lo).bit_length())
    zero_point = int(np.asarray(op.zero_point).reshape(-1)[0])
    return UniformQuantizer(bits, float(op.scale.reshape(-1)[0]), zero_point, op.lo < 0)


def _proto(content: bytes) -> ModelProto:
    try:
        return onnx.load_from_string(content)
    except Exception as error:  # of types of protobuf's own
        raise ArtifactError("A002", f"entry 'onnx_model' cannot be read: {error}") from error


def _check_device(device: str) -> None:
    if device not in ("cpu", "cuda"):
        raise InputError("I005", f"no device {device!r}", help="there are: cpu")
    if device == "cuda":
        no_effect("device='cuda'", "circuits run on the CPU", stacklevel=3)


def _require_floats(x: Sequence[Any]) -> None:
    for array in x:
        if np.issubdtype(np.asarray(array).dtype, np.integer):
            raise InputError(
                "I002",
                "floats are expected, not integers",
                help="quantized integers are for `quantized_forward`; else cast them to floats",
            )


def _integers(array: Any) -> Array:
    given = np.asarray(array)
    if not np.issubdtype(given.dtype, np.integer):
        raise InputError(
            "I002",
            f"quantized integers are expected, not {given.dtype}",
            help="floats are for `forward`",
        )
    return given.astype(np.int64)


def _with_batch_axis(array: Array, shape: Shape) -> Array:
    """(samples, *shape), where `array` may have the samples on the batch axis of `shape`."""
    if shape[:1] == (1,) and array.ndim == len(shape):
        return array[:, None]
    return array


def _without_batch_axis(array: Array) -> Array:
    """(samples, ...) of (samples, *shape), where `shape` has a batch axis."""
    return array[:, 0] if array.shape[1:2] == (1,) else array


def _tuple(given: Any) -> tuple[Any, ...]:
    return given if isinstance(given, tuple) else (given,)


def _alone(parts: Any) -> Any:
    found = tuple(parts)
    return found[0] if len(found) == 1 else found
