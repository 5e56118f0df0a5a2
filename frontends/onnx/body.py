"""Building the graph that stands for one node."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper


class Body:
    """Nodes that read what a node reads, or each other, to be put in its place by `splice`."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def constant(self, array: Any, dtype: Any = None) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def node(
        self, op_type: str, *inputs: str, name: str = "", domain: str = "", **attributes: Any
    ) -> str:
        return self.results(op_type, 1, *inputs, name=name, domain=domain, **attributes)[0]

    def results(
        self, op_type: str, count: int, *inputs: str, name: str = "", **attributes: Any
    ) -> list[str]:
        """A node of so many results."""
        results = [f"{op_type}{len(self.nodes)}_{index}" for index in range(count)]
        self.nodes.append(helper.make_node(op_type, inputs, results, name, **attributes))
        return results

    def graph(self, *results: str) -> GraphProto:
        outputs = [ValueInfoProto(name=name) for name in results]
        return helper.make_graph(self.nodes, "body", [], outputs, self.constants)
