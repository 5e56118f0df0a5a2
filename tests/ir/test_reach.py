"""How large values become where `assume` does not hold."""

from hypothesis import given
from hypothesis import strategies as st

from lutra.ir.core import Graph
from lutra.ir.interpreter import Interpreter
from lutra.ir.parser import parse_graph
from lutra.ir.reach import UNKNOWN, reaches
from lutra.ir.samples import samples
from lutra.ir.types import largest
from lutra.testing.graphs import integer_graphs


@given(integer_graphs(), st.integers(0, 99))
def test_no_value_goes_beyond(graph: Graph, seed: int) -> None:
    found = reaches(graph)
    values = list(found)
    arrays = Interpreter(graph, values).run(samples(graph, seed=seed))
    for value, array in zip(values, arrays, strict=True):
        assert largest(array) <= found[value]


def test_claims_do_not_count() -> None:
    graph = parse_graph("""
        %x = input : i6[2] in [-20, 31]
        %0 = matmul %x, w=[[1, -2], [3, 4]]
        %1 = assume %0, lo=0, hi=15
        %2 = round %1, lsbs=2, exact=false
        %3 = lookup %2, base=0, table=[0, 1, -7, 3, 4, 0, 0, 0]
        %4 = add %3, %3
        return %4
    """)
    assert list(reaches(graph).values()) == [31, 186, 186, 47, 7, 14]


def test_what_is_not_known_may_be_anything() -> None:
    graph = parse_graph("""
        %0 = int_constant value=[3, -4]
        return %0
    """)
    assert list(reaches(graph).values()) == [UNKNOWN]
