"""Nodes of ONNX models that stand for operators in Python, replaced by what these compute."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, shape_inference

from lutra.ir.errors import InputError
from lutra.quantization.base_quantized_op import OPERATORS
from lutra.quantization.tracing import Tape, Traced


def inlined(model: ModelProto) -> ModelProto:
    """The model without nodes of the operators that subclasses of `QuantizedOp` add to ONNX's.

    Here their meaning is that of their `q_impl` in floats: how they are quantized is up to what
    reads the model.

    Error I005 where one goes by its inputs' integers, or where a shape is not known.
    """
    if next(_custom(model), None) is None:
        return model
    found = ModelProto()
    found.CopyFrom(model)
    while (node := next(_custom(found), None)) is not None:
        tape = _traced(found, node)
        place = list(found.graph.node).index(node)
        nodes = [*found.graph.node[:place], *tape.nodes, *found.graph.node[place + 1 :]]
        del found.graph.node[:]
        found.graph.node.extend(nodes)
        found.graph.initializer.extend(tape.constants)
    return found


def _custom(model: ModelProto) -> Iterator[NodeProto]:
    for node in model.graph.node:
        known = not node.domain and onnx.defs.has(node.op_type)
        if not known and node.op_type in OPERATORS and OPERATORS[node.op_type].is_python():
            yield node


def _traced(model: ModelProto, node: NodeProto) -> Tape:
    """What a node computes."""
    tape = Tape(node.output[0] + "/python")
    attrs = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    op = OPERATORS[node.op_type](FLOATS, **attrs)
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    shapes = _shapes(model)
    inputs = []
    for name in node.input:
        if name not in constants and name not in shapes:
            raise InputError("I005", f"{node.op_type} {node.name}: no shape of {name!r} is known")
        constant = constants.get(name)
        sample = Traced(tape, name, np.ones(shapes[name])) if constant is None else constant
        inputs.append(Floats(sample))
    with np.errstate(all="ignore"):
        op.prepare_output = Floats  # type: ignore[method-assign, assignment]
        found = op(*inputs)
    result = helper.make_node("Identity", [found.values.name], list(node.output), node.name)
    tape.nodes.append(result)
    return tape


FLOATS = 32
"""Bits of operators that are not quantized; nothing goes by them."""


class Floats:
    """What an operator in Python reads where nothing is quantized yet.

    Error I005 for what only a `QuantizedArray` has.
    """

    def __init__(self, values: Any) -> None:
        self.values = values

    def dequant(self) -> Any:
        return self.values

    def __getattr__(self, name: str) -> Any:
        raise InputError(
            "I005",
            f"an operator in Python asks for `{name}` of values that are not quantized yet",
            help="use `dequant()`, or put the module together by hand, of calibrated layers",
        )


def _shapes(model: ModelProto) -> dict[str, tuple[int, ...]]:
    """The shapes that are known, of one sample where the batch axis is open."""
    graph = shape_inference.infer_shapes(model).graph
    found = {}
    for value in (*graph.input, *graph.value_info):
        type = value.type.tensor_type
        if type.elem_type == TensorProto.FLOAT and type.HasField("shape"):
            found[value.name] = tuple(max(1, dim.dim_value) for dim in type.shape.dim)
    return found
