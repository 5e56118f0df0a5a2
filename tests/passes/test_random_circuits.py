"""What clean-up does to random circuits, beside what it keeps (test_random_programs.py)."""

from hypothesis import given

from lutra.ir.core import Graph, Module
from lutra.passes import Pipeline
from lutra.testing.graphs import integer_graphs


@given(integer_graphs(most=10))
def test_clean_up_widens_no_result(graph: Graph) -> None:
    """Ranges stay what they were or become narrower, and so does every price."""
    before = [value.int_type for value in graph.outputs]
    Pipeline.parse("clean").execute(Module([graph]))
    for old, value in zip(before, graph.outputs, strict=True):
        assert (value.int_type.lo >= old.lo).all()
        assert (value.int_type.hi <= old.hi).all()
