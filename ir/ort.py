"""onnxruntime gives float-level operations their meaning, onnx their types."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx.shape_inference

from lutra.ir.carriers import carried, carried_types, from_carriers, to_carrier
from lutra.ir.errors import Error, ModelError, VerifyError
from lutra.ir.keys import key_of
from lutra.ir.types import Array, Tensor

if TYPE_CHECKING:
    from lutra.ir.core import Op, Value

OPSET = 21
"""The one opset at which float-level nodes are kept."""

SMALL = 1024
"""Constants of more elements (weights, never axes or sizes) are kept from shape inference."""

MAX_INFERRED = 1 << 13
_inferred: dict[Hashable, tuple[Tensor, ...]] = {}
"""What shape inference answered. The verifier asks the same of every node after every pass."""

IR_VERSION = 10
"""Written on every model that Lutra builds; the pinned onnxruntime reads it."""


def opset_imports(domains: Iterable[str]) -> list[onnx.OperatorSetIdProto]:
    return [
        onnx.helper.make_opsetid(domain, 1 if domain else OPSET)
        for domain in sorted({"", *domains})
    ]


def element_type(dtype: str) -> int:
    return int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def value_info(name: str, type: Tensor) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(name, element_type(type.dtype), type.shape)


def attribute_protos(attrs: Mapping[str, Any]) -> list[onnx.AttributeProto]:
    return [
        onnx.helper.make_attribute(
            name, onnx.numpy_helper.from_array(value) if isinstance(value, np.ndarray) else value
        )
        for name, value in attrs.items()
    ]


def infer_types(
    op_type: str,
    domain: str,
    attrs: Mapping[str, Any],
    inputs: Sequence[Value | None],
    results: int | None = None,
) -> tuple[Tensor, ...]:
    """Result types of one node by ONNX's own shape inference.

    `results` counts them; without it they are those that the operator must have.
    ModelError F004 where ONNX knows no such operator, F003 where it cannot tell a type; VerifyError
    V001 where the operator does not take these operands.
    """
    if domain or not onnx.defs.has(op_type, OPSET):
        raise ModelError("F004", f"no ONNX shape inference for {domain}::{op_type}")
    types = [None if value is None else _tensor(value) for value in inputs]
    constants = [None if value is None else _small_constant(value) for value in inputs]
    key = (op_type, results, key_of(attrs), key_of(types), key_of(constants))
    if key not in _inferred:
        if len(_inferred) >= MAX_INFERRED:
            _inferred.clear()
        _inferred[key] = _infer(op_type, attrs, types, constants, results)
    return _inferred[key]


def _small_constant(value: Value) -> Array | None:
    from lutra.ir.ops.onnx import constant_of

    array = constant_of(value)
    return array if array is not None and array.size <= SMALL else None


def _infer(
    op_type: str,
    attrs: Mapping[str, Any],
    inputs: Sequence[Tensor | None],
    constants: Sequence[Array | None],
    results: int | None,
) -> tuple[Tensor, ...]:
    names = ["" if type is None else f"x{i}" for i, type in enumerate(inputs)]
    schema = onnx.defs.get_schema(op_type, OPSET)
    outputs = [f"y{i}" for i in range(results or max(schema.min_output, 1))]
    node = onnx.helper.make_node(op_type, names, outputs)
    node.attribute.extend(attribute_protos(attrs))
    known = zip(names, inputs, strict=True)
    data = zip(names, constants, strict=True)
    try:
        types = onnx.shape_inference.infer_node_outputs(
            schema,
            node,
            {name: value_info(name, type).type for name, type in known if type is not None},
            {name: onnx.numpy_helper.from_array(a, name) for name, a in data if a is not None},
            opset_imports=opset_imports([]),
            ir_version=IR_VERSION,
        )
    except Exception as error:  # the inference raises plain and private exception types
        raise VerifyError("V001", f"onnx.{op_type}: {error}") from error
    return tuple(tensor_of(types.get(name, onnx.TypeProto())) for name in outputs)


def _tensor(value: Value) -> Tensor:
    if not isinstance(value.type, Tensor):
        raise VerifyError("V001", f"a float value is expected here, got {value.type}")
    return value.type


def tensor_of(proto: onnx.TypeProto) -> Tensor:
    """The type behind a TypeProto of known element type and static shape."""
    tensor = proto.tensor_type
    dims = tensor.shape.dim
    if not proto.HasField("tensor_type") or not tensor.HasField("shape"):
        raise ModelError("F003", "a value's shape is not known")
    if any(not dim.HasField("dim_value") for dim in dims):
        raise ModelError("F003", "a dimension is not known")
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name
    return Tensor(tuple(dim.dim_value for dim in dims), dtype)


def model_of(
    ops: Iterable[Op],
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    *,
    typed: bool = False,
    aside: dict[str, Array] | None = None,
) -> onnx.ModelProto:
    """An ONNX model of `constant`, `observe` and `onnx` operations.

    Inputs are named x0, x1, ... and outputs y0, y1, ... in their order. Without `typed` their
    shapes are left open, so that the model also runs on several samples at once. Large constants
    are put into `aside`, if given, by the names that they have in the model, and are not copied.
    """
    from lutra.ir.ops import Constant, Observe, Onnx

    names: dict[Value, str] = {value: f"x{i}" for i, value in enumerate(inputs)}
    nodes, initializers, domains = [], [], {""}
    for op in ops:
        for value in op.results:
            names[value] = f"v{len(names)}"
        if isinstance(op, Constant):
            name, array = names[op.result], op.value
            if aside is not None and array.size > SMALL and array.dtype.kind in "biuf":
                aside[name] = op.in_order()
                initializers.append(_placeholder(name, array))
            else:
                initializers.append(onnx.numpy_helper.from_array(array, name))
        elif isinstance(op, Observe):
            nodes.append(onnx.helper.make_node("Identity", [names[op.x]], [names[op.result]]))
        elif isinstance(op, Onnx):
            reads = ["" if value is None else names[value] for value in op.inputs]
            writes = [names[value] for value in op.results]
            node = onnx.helper.make_node(op.op_type, reads, writes, domain=op.domain)
            node.attribute.extend(attribute_protos(op.attrs))
            nodes.append(node)
            domains.add(op.domain)
        else:
            raise VerifyError("V001", f"{op.opname} has no ONNX form here", lines=[repr(op)])
    for i, value in enumerate(outputs):
        nodes.append(onnx.helper.make_node("Identity", [names[value]], [f"y{i}"]))

    def info(name: str, value: Value) -> onnx.ValueInfoProto:
        kind = _tensor(value)
        if typed:
            return value_info(name, kind)
        return onnx.helper.make_tensor_value_info(name, element_type(kind.dtype), None)

    graph = onnx.helper.make_graph(
        nodes,
        "lutra",
        [info(f"x{i}", value) for i, value in enumerate(inputs)],
        [info(f"y{i}", value) for i, value in enumerate(outputs)],
        initializers,
    )
    return onnx.helper.make_model(
        graph, opset_imports=opset_imports(domains), ir_version=IR_VERSION
    )


def _placeholder(name: str, array: Array) -> onnx.TensorProto:
    """A constant whose numbers come with the session that runs the model."""
    tensor = onnx.TensorProto(
        name=name,
        dims=array.shape,
        data_type=element_type(array.dtype.name),
        data_location=onnx.TensorProto.EXTERNAL,
    )
    tensor.external_data.add(key="location", value="aside")
    return tensor


WRONG_OPTIMIZERS = [
    "EliminateIdentity",  # renames what a Pad reads to an output's name, and forgets the Pad
    "WeightBiasQuantization",  # rounds float biases next to DequantizeLinear to integers
]
"""onnxruntime's rewrites that change results."""


ALONE = 1 << 14
"""Bytes of models below which starting threads takes longer than running without them."""


class Session:
    """A model in onnxruntime, run on one sample or on many.

    Shapes are those of `model_of`: arrays have a leading axis that counts samples.

    nodes: names for errors. aside: what `model_of` put there.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        nodes: Sequence[str] = (),
        aside: Mapping[str, Array] | None = None,
    ) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        self._types = carried_types(model.graph.output)
        data = carried(model).SerializeToString()
        if len(data) < ALONE and not aside:
            options.intra_op_num_threads = 1
        levels = onnxruntime.GraphOptimizationLevel
        # What reads no input runs once: folding constants would run it while optimizing.
        options.graph_optimization_level = (
            levels.ORT_ENABLE_BASIC if model.graph.input else levels.ORT_DISABLE_ALL
        )
        self._nodes = nodes
        self._aside = {  # must live as long as the session
            name: onnxruntime.OrtValue.ortvalue_from_numpy(array)
            for name, array in (aside or {}).items()
        }
        options.add_external_initializers([*self._aside], [*self._aside.values()])
        for name, value in self._aside.items():
            options.add_initializer(name, value)  # so that the session shares the memory
        try:
            self._session = onnxruntime.InferenceSession(
                data,
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=WRONG_OPTIMIZERS,
            )
        except Exception as error:  # onnxruntime's exceptions share no public base
            raise ModelError(
                "F006", f"onnxruntime refuses the model: {error}", nodes=nodes
            ) from error
        self._batches: dict[int, bool] = {}

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """Run on arrays exactly as they are."""
        names = (node.name for node in self._session.get_inputs())
        inputs = (to_carrier(np.asarray(array)) for array in arrays)  # no numpy scalars
        feeds = dict(zip(names, inputs, strict=True))
        try:
            return from_carriers(self._session.run(None, feeds), self._types)
        except Error:
            raise
        except Exception as error:
            raise ModelError("F006", f"onnxruntime fails: {error}", nodes=self._nodes) from error

    def run_samples(self, arrays: Sequence[Array], samples: int) -> list[Array]:
        """Run on arrays of shape (samples, *shape), or (1, *shape) where all samples share one.

        Where the model's first axis is a batch of one, all samples go through in one run. Whether
        a model treats its first axis as a batch is tried, on two samples of so many, and kept.
        """
        if samples == 1:
            return [result[None] for result in self.run([array[0] for array in arrays])]
        if samples == 0:
            one = self.run([np.zeros(array.shape[1:], array.dtype) for array in arrays])
            return [result[None][:0] for result in one]
        batchable = all(a.ndim > 1 and a.shape[:2] == (samples, 1) for a in arrays)
        if samples > 2 and batchable and self._batches.get(samples, True):
            results = self._run_batch([array[:, 0] for array in arrays], samples)
            if results is not None:
                return [result[:, None] for result in results]
        each = [
            self.run([a[i if a.shape[0] == samples else 0] for a in arrays]) for i in range(samples)
        ]
        return [np.stack(results) for results in zip(*each, strict=True)]

    def _run_batch(self, arrays: Sequence[Array], samples: int) -> list[Array] | None:
        """All samples at once; None where the model does not take its first axis for a batch.

        That may depend on their number: a constant's own first axis may fit it by chance.
        """
        try:
            together = self.run(arrays)
            if samples not in self._batches:
                alone = [self.run([array[i : i + 1] for array in arrays]) for i in (0, samples - 1)]
                self._batches[samples] = all(
                    both.shape == (samples, *first.shape[1:])
                    and first.shape[:1] == (1,)
                    and _are_close(both[[0, -1]], np.stack([first[0], last[0]]))
                    for both, first, last in zip(together, *alone, strict=True)
                )
        except ModelError:
            self._batches[samples] = False
        return together if self._batches[samples] else None


def _are_close(found: Array, wanted: Array) -> bool:
    """Whether results are the same up to the order of sums, NaN being equal to itself."""
    if found.dtype.isbuiltin != 1:  # numpy does not compare types that others added to it
        found, wanted = found.astype(np.float64), wanted.astype(np.float64)
    return np.allclose(found, wanted, rtol=1e-4, equal_nan=True)
