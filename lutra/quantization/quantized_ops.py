"""Layers from which a `QuantizedModule` is put together by hand.

Each stands for one ONNX operator. A module's layers become an ONNX model with QONNX's quantizers
before the weighted layers, and the pipeline `qat` compiles it: the quantizers' integers are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from lutra.ir.errors import InputError, did_you_mean
from lutra.ir.traits import TRAITS, WEIGHTED, Trait
from lutra.ir.types import Array
from lutra.quantization.numpy_module import NumpyModule
from lutra.quantization.quantizers import QuantizedArray, UniformQuantizer

OPSET = 20
QONNX = "qonnx.custom_op.general"

Layers = Mapping[str, tuple[Sequence[str], "QuantizedOp"]]
"""By the name of its result, the names of what a layer reads, and the layer; in order."""

OPERATORS: dict[str, type[QuantizedOp]] = {}
"""The class of each ONNX operator that has one."""


class QuantizedOp:
    """An ONNX operator whose results have so many bits where a weighted layer reads them.

    A subclass says by `_impl_for_op_named` which operator it stands for. Elementwise ones need
    nothing else: they become part of a table look-up.

    n_bits_output: bits of the results.
    op_instance_name: the node's name; by default the name of its result.
    constant_inputs: clear operands by their position: arrays, or `QuantizedArray`s, whose
        integers are kept.
    attrs: the operator's attributes.

    int_input_names and input_quant_opts are taken for the sake of existing programs.

    Errors: I005 at the subclass for what is no operator, or for one of its own in Python.
    """

    _impl_for_op_named: ClassVar[str | None] = None
    _default_attrs: ClassVar[Mapping[str, Any]] = {}
    _default_constants: ClassVar[Mapping[int, Any]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        name = cls._impl_for_op_named
        if name is None:
            return
        if "q_impl" in vars(cls) or "impl" in vars(cls):
            raise InputError(
                "I005",
                f"{cls.__name__} computes in Python, which no table look-up is built of",
                help="write it with ONNX operators, or ship an op with its own `decompose`",
            )
        if TRAITS.get(name, Trait.OPAQUE) is Trait.OPAQUE:
            raise InputError(
                "I005",
                f"{cls.__name__}: {name!r} is no operator that runs under encryption",
                help=did_you_mean(name, [*TRAITS]),
            )
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
        self.input_shapes: tuple[tuple[int, ...], ...] = ()

    @classmethod
    def op_type(cls) -> str | None:
        """The ONNX operator."""
        return cls._impl_for_op_named

    @classmethod
    def is_weighted(cls) -> bool:
        """Whether it computes on integers; others become parts of look-ups, or move elements."""
        return cls._impl_for_op_named in WEIGHTED

    def calibrate(self, *inputs: Array) -> Array:
        """The float results for typical inputs (samples, ...), of which the quantizer is made."""
        arrays = [np.asarray(x, np.float32) for x in inputs]
        self.input_shapes = tuple(array.shape[1:] for array in arrays)
        names = [f"x{index}" for index in range(len(arrays))]
        nodes, constants = self.nodes(names, "y", "op")
        model = _model(dict(zip(names, self.input_shapes, strict=True)), ["y"], nodes, constants)
        result: Array = NumpyModule(model)(*arrays)
        self.output_quantizer = UniformQuantizer.fitted(np.asarray(result, np.float64), self.n_bits)
        return result

    def quantizer(self, name: str) -> UniformQuantizer:
        """The quantizer of the results. Error I005 before `calibrate`."""
        if self.output_quantizer is None:
            raise InputError("I005", f"layer {name!r} is not calibrated", help="call `calibrate`")
        return self.output_quantizer

    def nodes(
        self, inputs: Sequence[str], output: str, name: str
    ) -> tuple[list[NodeProto], list[TensorProto]]:
        """Its ONNX nodes and constants, for inputs and a result of these names."""
        operands: dict[int, str] = {}
        free = iter(inputs)
        count = len(inputs) + len(self.constant_inputs)
        nodes: list[NodeProto] = []
        constants: list[TensorProto] = []
        for position in range(count):
            if position not in self.constant_inputs:
                operands[position] = next(free)
                continue
            operands[position] = f"{output}/{position}"
            constant = self.constant_inputs[position]
            is_quantized = isinstance(constant, QuantizedArray)
            values = constant.quantizer.dequant(constant.qvalues) if is_quantized else constant
            raw = operands[position] + "/values" * is_quantized
            constants.append(numpy_helper.from_array(np.asarray(values, np.float32), raw))
            if is_quantized:
                node, grid = _fake_quantizer(constant.quantizer, raw, operands[position])
                nodes.append(node)
                constants += grid
        listed = [operands[position] for position in range(count)]
        kind = type(self)._impl_for_op_named
        if kind is None:
            raise InputError("I005", f"{type(self).__name__} stands for no operator")
        node = helper.make_node(kind, listed, [output], self.op_instance_name or name, **self.attrs)
        return [*nodes, node], constants


def model_of(
    inputs: Mapping[str, UniformQuantizer], outputs: Sequence[str], layers: Layers
) -> ModelProto:
    """The ONNX model of calibrated layers. Error I005 for names that nothing has, or no layers."""
    grids = dict(inputs)
    shapes: dict[str, tuple[int, ...]] = {}
    nodes: list[NodeProto] = []
    constants: list[TensorProto] = []
    quantized: dict[str, str] = {}
    for result, (sources, layer) in layers.items():
        for source in sources:
            if source not in grids:
                help = did_you_mean(source, [*grids])
                raise InputError("I005", f"layer {result!r} reads {source!r}", help=help)
        grids[result] = layer.quantizer(result)
        for source, shape in zip(sources, layer.input_shapes, strict=True):
            if source in inputs:
                shapes[source] = shape
        names = list(sources)
        if layer.is_weighted():
            for index, source in enumerate(sources):
                if source not in quantized:
                    quantized[source] = f"{source}/quantized"
                    node, grid = _fake_quantizer(grids[source], source, quantized[source])
                    nodes.append(node)
                    constants += grid
                names[index] = quantized[source]
        more, values = layer.nodes(names, result, result)
        nodes += more
        constants += values
    unknown = [name for name in outputs if name not in layers]
    if unknown or not outputs:
        raise InputError("I005", f"outputs {unknown} are no layers' results")
    return _model(shapes, outputs, nodes, constants)


def _fake_quantizer(
    grid: UniformQuantizer, source: str, result: str
) -> tuple[NodeProto, list[TensorProto]]:
    """QONNX's Quant node, and its scale, zero point and bits."""
    names = [f"{result}/{part}" for part in ("scale", "zero_point", "bits")]
    numbers = (grid.scale, grid.zero_point, grid.n_bits)
    constants = [
        numpy_helper.from_array(np.array(number, np.float32), name)
        for number, name in zip(numbers, names, strict=True)
    ]
    node = helper.make_node(
        "Quant", [source, *names], [result], result, domain=QONNX, signed=int(grid.is_signed),
        narrow=0, rounding_mode="ROUND",
    )  # fmt: skip
    return node, constants


def _model(
    inputs: Mapping[str, Sequence[int]],
    outputs: Sequence[str],
    nodes: Sequence[NodeProto],
    constants: Sequence[TensorProto],
) -> ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "by_hand",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape])
            for name, shape in inputs.items()
        ],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        list(constants),
    )
    imports = [helper.make_opsetid("", OPSET), helper.make_opsetid(QONNX, 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


class QuantizedGemm(QuantizedOp):
    """x @ b + c: `constant_inputs={1: b, 2: c}`."""

    _impl_for_op_named = "Gemm"


class QuantizedLinear(QuantizedGemm):
    """x @ weights + bias.

    q_weights: quantized weights (inputs, outputs), best signed and symmetric.
    q_bias: quantized or float bias (outputs,).
    """

    def __init__(self, n_bits: int, q_weights: QuantizedArray, q_bias: Any = None) -> None:
        bias = q_bias.dequant() if isinstance(q_bias, QuantizedArray) else q_bias
        super().__init__(
            n_bits, constant_inputs={1: q_weights} | ({} if bias is None else {2: bias})
        )


class QuantizedMatMul(QuantizedOp):
    _impl_for_op_named = "MatMul"


class QuantizedConv(QuantizedOp):
    _impl_for_op_named = "Conv"


class QuantizedAdd(QuantizedOp):
    _impl_for_op_named = "Add"


class QuantizedRelu(QuantizedOp):
    _impl_for_op_named = "Relu"


class QuantizedClip(QuantizedOp):
    """`constant_inputs={1: least, 2: greatest}`."""

    _impl_for_op_named = "Clip"


class QuantizedReLU6(QuantizedClip):
    _default_constants: ClassVar[Mapping[int, Any]] = {1: 0.0, 2: 6.0}


class QuantizedSigmoid(QuantizedOp):
    _impl_for_op_named = "Sigmoid"


class QuantizedTanh(QuantizedOp):
    _impl_for_op_named = "Tanh"


class QuantizedAbs(QuantizedOp):
    _impl_for_op_named = "Abs"


class QuantizedCelu(QuantizedOp):
    _impl_for_op_named = "Celu"


class QuantizedElu(QuantizedOp):
    _impl_for_op_named = "Elu"


class QuantizedErf(QuantizedOp):
    _impl_for_op_named = "Erf"


class QuantizedExp(QuantizedOp):
    _impl_for_op_named = "Exp"


class QuantizedHardSigmoid(QuantizedOp):
    _impl_for_op_named = "HardSigmoid"


class QuantizedHardSwish(QuantizedOp):
    _impl_for_op_named = "HardSwish"


class QuantizedIdentity(QuantizedOp):
    _impl_for_op_named = "Identity"


class QuantizedLeakyRelu(QuantizedOp):
    _impl_for_op_named = "LeakyRelu"


class QuantizedLog(QuantizedOp):
    _impl_for_op_named = "Log"


class QuantizedSelu(QuantizedOp):
    _impl_for_op_named = "Selu"


class QuantizedSoftplus(QuantizedOp):
    _impl_for_op_named = "Softplus"
