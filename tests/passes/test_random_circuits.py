"""Passes on integers keep every value of every circuit; tried on random ones."""

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from lutra.ir.core import Graph, Module
from lutra.ir.interpreter import Interpreter
from lutra.ir.program import Program
from lutra.ir.samples import run_all, samples
from lutra.ir.text import text_of_module
from lutra.passes import Pipeline
from lutra.testing.graphs import integer_graphs, quantized_graphs

EXACT = ("canonicalize", "cse", "dce", "fold-constants", "clean")


@given(integer_graphs(most=10), st.sampled_from(EXACT))
def test_clean_up_is_exact(graph: Graph, name: str) -> None:
    inputs = samples(graph)
    _, kept = run_all(graph, inputs)
    wanted = Interpreter(graph).run(inputs)
    module = Module([graph])
    Pipeline.parse(name).execute(module)
    for old, new in zip(wanted, Interpreter(graph).run(inputs), strict=True):
        np.testing.assert_array_equal(old[kept], new[kept])


@given(integer_graphs(most=10))
def test_clean_up_comes_to_rest(graph: Graph) -> None:
    module = Module([graph])
    Pipeline.parse("clean").execute(module)
    text = text_of_module(module, limit=None)
    Pipeline.parse("clean").execute(module)
    assert text_of_module(module, limit=None) == text


@given(integer_graphs(most=10))
def test_clean_up_widens_no_result(graph: Graph) -> None:
    """Ranges stay what they were or become narrower, and so does every price."""
    before = [value.int_type for value in graph.outputs]
    Pipeline.parse("clean").execute(Module([graph]))
    for old, value in zip(before, graph.outputs, strict=True):
        assert (value.int_type.lo >= old.lo).all()
        assert (value.int_type.hi <= old.hi).all()


@given(quantized_graphs())
def test_partition_keeps_results(graph: Graph) -> None:
    inputs = samples(graph)
    _, kept = run_all(graph, inputs)
    assume(kept.any())
    feeds = {node.name: x[kept] for node, x in zip(graph.inputs, inputs, strict=True)}
    module = Module([graph])
    wanted = Program(module.clone()).run(feeds)
    Pipeline.parse("partition").execute(module)
    for old, new in zip(wanted, Program(module).run(feeds), strict=True):
        np.testing.assert_array_equal(old, np.broadcast_to(new, old.shape))
