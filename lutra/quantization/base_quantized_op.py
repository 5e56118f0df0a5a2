"""What layers of hand-made modules have in common, and how operators of one's own are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper

from lutra.ir.errors import InputError, did_you_mean
from lutra.ir.traits import TRAITS, Trait
from lutra.ir.types import Array
from lutra.quantization.numpy_module import NumpyModule
from lutra.quantization.quantizers import QuantizedArray, UniformQuantizer
from lutra.quantization.tracing import QONNX, Tape, Traced

OPSET = 20

EXPANDED = frozenset({"BatchNormalization", "onnx.brevitas.Quant"})
"""Operators that are others once a model is read."""

OPERATORS: dict[str, type[QuantizedOp]] = {}
"""The class of each operator that has one."""


class QuantizedOp:
    """An operator whose results have so many bits where a weighted layer reads them.

    A subclass says by `_impl_for_op_named` which operator it stands for. One of ONNX's own needs
    nothing else; elementwise ones become part of a table look-up. Any other is written in Python,
    as numpy's functions of what the operator reads:

        class QuantizedClippedSquare(QuantizedOp):
            _impl_for_op_named = "ClippedSquare"

            def q_impl(self, *q_inputs, **attrs):
                (q_x,) = q_inputs
                return self.prepare_output(np.minimum(q_x.dequant() ** 2, 4.0))

    What `q_impl` does with `qvalues` stays what it is, in integers. It is run once, to write it
    down as ONNX nodes; so it may not branch on what the values are. Where it returns a
    `QuantizedArray` of a scale of its own, that is what the next layer reads.

    n_bits_output: bits of the results.
    op_instance_name: the node's name; by default the name of its result.
    constant_inputs: clear operands by their position: arrays, or `QuantizedArray`s, whose
        integers are kept.
    attrs: the operator's attributes.

    int_input_names and input_quant_opts are taken for the sake of existing programs.

    Errors: I005 at the subclass for what is neither an operator of ONNX's nor written in Python.
    """

    _impl_for_op_named: ClassVar[str | None] = None
    _default_attrs: ClassVar[Mapping[str, Any]] = {}
    _default_constants: ClassVar[Mapping[int, Any]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        name = cls._impl_for_op_named
        if name is None:
            return
        known = name in EXPANDED or TRAITS.get(name, Trait.OPAQUE) is not Trait.OPAQUE
        if not known and not cls.is_python():
            raise InputError(
                "I005",
                f"{cls.__name__}: {name!r} is no operator that runs under encryption",
                help=f"{did_you_mean(name, [*TRAITS])}; or write it in Python, as `q_impl`",
            )
        if cls.is_python():
            OPERATORS[name] = cls
        else:
            OPERATORS.setdefault(name, cls)

    def __init__(
        self,
        n_bits_output: int,
        op_instance_name: str = "",
        int_input_names: Any = None,
        constant_inputs: Mapping[int, Any] | None = None,
        input_quant_opts: Any = None,
        **attrs: Any,
    ) -> None:
        self.n_bits = n_bits_output
        self.op_instance_name = op_instance_name
        self.constant_inputs = {**self._default_constants, **(constant_inputs or {})}
        self.attrs = {**self._default_attrs, **attrs}
        self.output_quantizer: UniformQuantizer | None = None
        self.samples: tuple[Array, ...] = ()

    @classmethod
    def op_type(cls) -> str | None:
        """The operator."""
        return cls._impl_for_op_named

    @classmethod
    def is_python(cls) -> bool:
        """Whether it is written in Python."""
        return cls.q_impl is not QuantizedOp.q_impl

    @classmethod
    def is_weighted(cls) -> bool:
        """Whether it computes on integers; others become parts of look-ups, or move elements."""
        trait = TRAITS.get(cls._impl_for_op_named or "", Trait.OPAQUE)
        return trait is Trait.LINEAR or cls.is_python()

    # --- on arrays --------------------------------------------------------------------------------
    def calibrate(self, *inputs: Array) -> Array:
        """The float results for typical inputs (samples, ...), of which the quantizer is made."""
        self.samples = tuple(np.asarray(x, np.float32) for x in inputs)
        self.output_quantizer = None
        if self.is_python():
            q_y = self(*(QuantizedArray(FINE, x) for x in self.samples))
        else:
            q_y = self.prepare_output(self.call_impl(*self.samples, **self.attrs))
        return np.asarray(q_y.values, np.float32)

    def __call__(self, *q_inputs: Any) -> Any:
        """The quantized results for quantized inputs. Calibrate it first."""
        return self.q_impl(*q_inputs, **self.attrs)

    def q_impl(self, *q_inputs: Any, **attrs: Any) -> Any:
        """The same, as subclasses may write it: a `QuantizedArray`, of `QuantizedArray`s."""
        return self.prepare_output(self.call_impl(*(q.dequant() for q in q_inputs), **attrs))

    def call_impl(self, *inputs: Array, **attrs: Any) -> Array:
        """The float results for floats (samples, ...). Error I005 for an operator in Python."""
        shapes = {f"x{index}": np.shape(x)[1:] for index, x in enumerate(inputs)}
        tape = Tape("op")
        self._write(tape, [*shapes], "y", "op")
        model = model_of_nodes(shapes, ["y"], tape)
        return np.asarray(NumpyModule(model)(*(np.asarray(x, np.float32) for x in inputs)))

    def prepare_output(self, qoutput_activation: Any) -> QuantizedArray:
        """Float results, quantized as calibration found; the first ones are what it goes by."""
        values = qoutput_activation
        if self.output_quantizer is None:
            if isinstance(values, Traced):
                raise _not_calibrated(type(self).__name__)
            fitted = UniformQuantizer.fitted(np.asarray(values, np.float64), self.n_bits)
            self.output_quantizer = fitted
        return QuantizedArray.under(self.output_quantizer, values)

    def can_fuse(self) -> bool:
        """Whether it is a function of each element, and becomes part of a table look-up."""
        trait = TRAITS.get(self._impl_for_op_named or "", Trait.OPAQUE)
        return not self.is_python() and trait is Trait.ELEMENTWISE

    # --- as ONNX ----------------------------------------------------------------------------------
    def write(
        self, tape: Tape, inputs: Sequence[str], output: str, grids: Sequence[UniformQuantizer]
    ) -> UniformQuantizer:
        """Write its ONNX nodes, for inputs and a result of these names; how that is quantized.

        grids: how the inputs are quantized, if it computes on integers. Error I005 before
            `calibrate`.
        """
        if not self.samples:
            raise _not_calibrated(output)
        if self.is_python():
            return self._trace(tape, inputs, output, grids)
        self._write(tape, inputs, output, output)
        if self.output_quantizer is None:
            raise _not_calibrated(output)
        return self.output_quantizer

    def _trace(
        self, tape: Tape, inputs: Sequence[str], output: str, grids: Sequence[UniformQuantizer]
    ) -> UniformQuantizer:
        traced = [
            QuantizedArray.under(grid, Traced(tape, name, sample[:1]).integers(grid), False)
            for name, sample, grid in zip(inputs, self.samples, grids, strict=True)
        ]
        found: Any = self(*traced)
        values = getattr(found, "values", None)
        if not isinstance(found, QuantizedArray) or not isinstance(values, Traced):
            raise InputError(
                "I005",
                f"{type(self).__name__}.q_impl gives a {type(found).__name__} that does not "
                "depend on its inputs",
                help="return a QuantizedArray of what it computes, as `prepare_output` makes it",
            )
        tape.nodes.append(helper.make_node("Identity", [values.name], [output], output))
        return found.quantizer

    def _write(self, tape: Tape, inputs: Sequence[str], output: str, name: str) -> None:
        domain, _, op_type = (self._impl_for_op_named or "").rpartition(".")
        if not op_type:
            raise InputError("I005", f"{type(self).__name__} stands for no operator")
        free = iter(inputs)
        operands: list[str] = []
        for position in range(len(inputs) + len(self.constant_inputs)):
            constant = self.constant_inputs.get(position)
            dtype = _dtype(op_type, position)
            if position not in self.constant_inputs:
                operands.append(tape.cast(next(free), dtype))
            elif isinstance(constant, QuantizedArray):
                values = tape.constant(constant.quantizer.dequant(constant.qvalues))
                operands.append(tape.quantize(constant.quantizer, values, f"{output}/{position}"))
            else:
                operands.append(tape.constant(constant, dtype))
        result = output if _dtype(op_type, None) is np.float32 else f"{output}/result"
        name = self.op_instance_name or name
        node = helper.make_node(op_type, operands, [result], name, domain=domain, **self.attrs)
        tape.nodes.append(node)
        if result != output:
            tape.nodes.append(helper.make_node("Cast", [result], [output], to=TensorProto.FLOAT))


def _not_calibrated(name: str) -> InputError:
    return InputError("I005", f"layer {name!r} is not calibrated", help="call `calibrate`")


def _dtype(op_type: str, position: int | None) -> Any:
    """What an operator reads at a position, or what it gives: floats where it takes any numbers."""
    if not onnx.defs.has(op_type, OPSET):
        return np.float32
    schema = onnx.defs.get_schema(op_type, OPSET)
    ports = schema.outputs if position is None else schema.inputs
    types = ports[min(position or 0, len(ports) - 1)].types
    only = next(iter(types)) if len(types) == 1 else ""
    return {"tensor(int64)": np.int64, "tensor(bool)": np.bool_}.get(only, np.float32)


FINE = 16
"""Bits of what operators in Python are calibrated with: next to floats."""


def model_of_nodes(
    inputs: Mapping[str, Sequence[int]], outputs: Sequence[str], tape: Tape
) -> ModelProto:
    """The ONNX model of some nodes. inputs: their shapes, without the samples' axis."""
    graph = helper.make_graph(
        tape.nodes,
        "by_hand",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape])
            for name, shape in inputs.items()
        ],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        tape.constants,
    )
    domains = {node.domain for node in tape.nodes} - {""} | {QONNX}
    imports = [helper.make_opsetid(domain, 1) for domain in sorted(domains)]
    imports.insert(0, helper.make_opsetid("", OPSET))
    return helper.make_model(graph, opset_imports=imports, ir_version=10)
