"""An ONNX graph while it is being written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
from numpy.typing import ArrayLike

from lutra.ir import ort
from lutra.ir.core import Op, Value
from lutra.ir.types import Array, Shape, Tensor


class Builder:
    """Maps values of the IR to names of the ONNX graph, and collects its nodes.

    lead: axes in front of the type's shape: 1 where every array counts samples on its first axis.
    """

    def __init__(self, lead: int) -> None:
        self.lead = lead
        self.names: dict[Value, str] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.domains = {""}
        self.samples = ""
        """Name of the number of samples, int64 [1]; empty where the graph has no input."""
        self._taken: set[str] = set()
        self._at = ""

    def at(self, op: Op) -> None:
        """Name the following nodes after an operation's origins."""
        self._at = " + ".join(op.loc) or op.opname

    def reserve(self, name: str) -> str:
        """`name`, or one like it if it is taken."""
        unique, count = name, 0
        while unique in self._taken:
            unique, count = f"{name}_{count}", count + 1
        self._taken.add(unique)
        return unique

    def constant(self, array: ArrayLike) -> str:
        name = self.reserve("c")
        self.initializers.append(onnx.numpy_helper.from_array(np.asarray(array), name))
        return name

    def scalar(self, number: int) -> str:
        return self.constant(np.array(number, np.int64))

    def ints(self, numbers: Sequence[int]) -> str:
        """A constant int64 vector: axes, shapes and the like."""
        return self.constant(np.array(numbers, np.int64))

    def node(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one result; returns the result's name."""
        (result,) = self.nodes_result(op_type, inputs, [self.reserve("v")], **attributes)
        return result

    def nodes_result(
        self,
        op_type: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        domain: str = "",
        **attributes: Any,
    ) -> Sequence[str]:
        """Add a node that writes `outputs`; returns them."""
        node = onnx.helper.make_node(op_type, inputs, outputs, domain=domain)
        node.name = self.reserve(self._at)
        node.attribute.extend(ort.attribute_protos(attributes))
        self.nodes.append(node)
        self.domains.add(domain)
        return outputs

    def read(self, value: Value, rank: int | None = None) -> str:
        """A value's name; with `rank`, its type's shape gets leading axes of size 1 up to it."""
        name, shape = self.names[value], value.shape
        if rank is None or rank <= len(shape) or not self.lead:
            return name
        return self.reshape(name, (1,) * (rank - len(shape)) + shape)

    def reshape(self, name: str, shape: Shape) -> str:
        """The same elements; the axis of samples, if there is one, stays in front."""
        return self.node("Reshape", name, self.ints([0] * self.lead + list(shape)))


Emission = Callable[[Any, Any], "str | Sequence[str] | None"]
"""Writes one operation with a builder; returns the names of its results."""


def cast(b: Builder, name: str, source: Any, target: Any) -> str:
    """A tensor in another data type; numpy types."""
    if np.dtype(source) == np.dtype(target):
        return name
    return b.node("Cast", name, to=ort.element_type(np.dtype(target).name))


def elements(value: Value) -> str:
    """Name of a value's numpy type in ONNX; the IR's integers are int64."""
    return value.type.dtype if isinstance(value.type, Tensor) else "int64"


def at_rank(array: Array, rank: int) -> Array:
    """An array with leading axes of size 1 up to a rank."""
    return array.reshape((1,) * (rank - array.ndim) + array.shape)
