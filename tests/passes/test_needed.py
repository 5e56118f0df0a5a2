"""What is said not to be needed changes no result."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
from hypothesis import given

from lutra.ir.core import Graph
from lutra.ir.interpreter import evaluate
from lutra.ir.ops import Assume
from lutra.ir.parser import parse_graph
from lutra.ir.samples import samples
from lutra.passes.needed import needed_elements
from lutra.testing.graphs import integer_graphs


@given(integer_graphs(most=10))
def test_what_is_not_needed_changes_nothing(graph: Graph) -> None:
    hypothesis.assume(not any(graph.of(Assume)))  # whose claims random inputs do not keep to
    found = needed_elements(graph)
    some, other = samples(graph, 8, seed=1), samples(graph, 8, seed=2)
    mixed = [
        np.where(found.get(node.result, np.zeros(node.type.shape, bool)), x, y)
        for node, x, y in zip(graph.inputs, some, other, strict=True)
    ]
    for wanted, y in zip(evaluate(graph, some), evaluate(graph, mixed), strict=True):
        np.testing.assert_array_equal(y, wanted)


READERS = {
    "matmul %x, w=[[1, 0], [0, 0], [0, -2]]": ([1, 3], [[1, 0, 1]]),
    "mul_clear %x, c=[[0, 1, 2]]": ([1, 3], [[0, 1, 1]]),
    "slice %x, starts=[0, 2], stops=[1, -4], steps=[1, -2]": ([1, 3], [[1, 0, 1]]),
    "gather %x, indices=[2, 2, 1]": ([1, 3], [[0, 1, 1]]),
    "sum %x, axes=[1], keepdims=false": ([1, 3], [[1, 1, 1]]),
    "conv %x, w=[[[1]]], strides=[2]": ([1, 1, 4], [[[1, 0, 1, 0]]]),
    "conv %x, w=[[[1, 0, 1]]], dilations=[2]": ([1, 1, 5], [[[1, 0, 0, 0, 1]]]),
    "conv %x, w=[[[0]], [[3]]], group=2": ([1, 2, 2], [[[0, 0], [1, 1]]]),
}


@pytest.mark.parametrize("reader", READERS)
def test_what_is_needed(reader: str) -> None:
    shape, wanted = READERS[reader]
    extents = "x".join(map(str, shape))
    graph = parse_graph(f"%x = input : u2[{extents}] in [0, 3]\n%0 = {reader}\nreturn %0")
    found = needed_elements(graph)[graph.inputs[0].result]
    np.testing.assert_array_equal(found, np.array(wanted, bool))
