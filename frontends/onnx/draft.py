"""A model while it is being normalised."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from math import prod
from typing import NamedTuple

import numpy as np
from onnx import (
    GraphProto,
    ModelProto,
    NodeProto,
    SparseTensorProto,
    TensorProto,
    TypeProto,
    ValueInfoProto,
    helper,
    numpy_helper,
)

from lutra.frontends.onnx.proto import reads

LIGHT = 1024
"""Constants of more elements stay out of the protobuf while it goes in and out of onnx's C++."""

PLAIN = {
    TensorProto.BOOL,
    TensorProto.DOUBLE,
    TensorProto.FLOAT,
    TensorProto.INT32,
    TensorProto.INT64,
    TensorProto.STRING,
}
"""Element types of the constants that may stay: onnx's version converter corrupts int4."""


class Refused(NamedTuple):
    """Why a node cannot be imported, and the types of its results as far as they are known."""

    reason: str
    types: Sequence[TypeProto]


def dense(sparse: SparseTensorProto) -> TensorProto:
    """The same constant without gaps."""
    values, indices = (numpy_helper.to_array(t) for t in (sparse.values, sparse.indices))
    array = np.zeros(tuple(sparse.dims), values.dtype)
    if indices.ndim == 1:
        array.reshape(-1)[indices] = values
    else:
        array[tuple(indices.T)] = values
    return numpy_helper.from_array(array, sparse.values.name)


class Draft:
    """A private copy of a model whose big constants are kept aside.

    To onnx's C++ (checker, shape inference, inliner, version converter) the constants that are
    kept aside look like graph inputs. They carry no shape information, so nothing is lost, each
    round trip stays cheap, and the 2 GiB limit of protobuf does not apply to them.
    """

    def __init__(self, model: ModelProto) -> None:
        self.model = ModelProto()
        self.model.CopyFrom(model)
        self.aside: dict[str, TensorProto] = {}
        self.refused: dict[str, Refused] = {}
        """Nodes that cannot be imported, by name."""
        constants = [*self.graph.initializer, *map(dense, self.graph.sparse_initializer)]
        del self.graph.sparse_initializer[:]
        names = {tensor.name for tensor in constants}
        inputs = [value for value in self.graph.input if value.name not in names]
        for field, kept in ((self.graph.input, inputs), (self.graph.initializer, [])):
            del field[:]
            field.extend(kept)
        self.inputs = [value.name for value in inputs]
        for tensor in constants:
            self.add_constant(tensor)

    @property
    def graph(self) -> GraphProto:
        return self.model.graph

    @property
    def version(self) -> int:
        """The opset of ONNX's own operators."""
        return next((o.version for o in self.model.opset_import if not o.domain), 0)

    def add_constant(self, tensor: TensorProto) -> None:
        if tensor.data_type in PLAIN and prod(tensor.dims) <= LIGHT:
            self.graph.initializer.append(tensor)
        else:
            self.aside[tensor.name] = tensor
            self.graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )

    def replace_constant(self, tensor: TensorProto) -> None:
        """Put a constant in the place of the one of that name."""
        self.aside.pop(tensor.name, None)
        for field in (self.graph.initializer, self.graph.input):
            kept = [value for value in field if value.name != tensor.name]
            del field[:]
            field.extend(kept)
        self.add_constant(tensor)

    def constants(self) -> dict[str, TensorProto]:
        """All constants by name."""
        return {**{tensor.name: tensor for tensor in self.graph.initializer}, **self.aside}

    def types(self) -> dict[str, TypeProto]:
        """What is known of every value's type."""
        graph = self.graph
        found = {
            tensor.name: helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
            for tensor in graph.initializer
        }
        for value in (*graph.output, *graph.value_info, *graph.input):
            found[value.name] = value.type
        return found

    def names(self) -> set[str]:
        """Names of all values."""
        values = (*self.graph.input, *self.graph.initializer)
        written = (name for node in self.graph.node for name in node.output)
        return {*(value.name for value in values), *written, *reads(self.graph.node)}

    def used(self) -> set[str]:
        """Names that a node or the caller reads."""
        return {*reads(self.graph.node), *(output.name for output in self.graph.output)}

    def set_nodes(self, nodes: Iterable[NodeProto]) -> None:
        kept = list(nodes)
        del self.graph.node[:]
        self.graph.node.extend(kept)

    def drop_nodes(self, nodes: Iterable[NodeProto]) -> None:
        """Remove nodes, which are told apart by what they write."""
        written = {name for node in nodes for name in node.output if name}
        self.set_nodes(node for node in self.graph.node if not written.intersection(node.output))

    def drop_unused(self) -> None:
        """Remove constants that nothing reads."""
        used = self.used()
        self.aside = {name: tensor for name, tensor in self.aside.items() if name in used}
        _keep_inputs(self.graph, {*self.inputs, *self.aside})
        kept = [tensor for tensor in self.graph.initializer if tensor.name in used]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)

    def replace(self, model: ModelProto) -> None:
        """Go on with what onnx made of `self.model`."""
        self.model = model

    def finish(self) -> ModelProto:
        """The model with all its constants inside."""
        self.drop_unused()
        whole = ModelProto()
        whole.CopyFrom(self.model)
        _keep_inputs(whole.graph, self.inputs)
        whole.graph.initializer.extend(self.aside.values())
        return whole


def _keep_inputs(graph: GraphProto, names: Collection[str]) -> None:
    kept: list[ValueInfoProto] = [value for value in graph.input if value.name in names]
    del graph.input[:]
    graph.input.extend(kept)
