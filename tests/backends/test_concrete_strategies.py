"""Look-ups that read one rounded value are under the same parameters."""

import pytest

from lutra.backends.concrete import estimate, price_of
from lutra.ir.errors import BackendError
from lutra.ir.parser import parse_graph

TWO = """
    %x = input : i8[64] in [-128, 119]
    %0 = round %x, lsbs=4, exact=false
    %1 = lookup %0, base=-8, table=[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
    %2 = lookup %0, base=-8, table=[9, 1, 7, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
    %3 = mul_clear %2, c=100
    %4 = add %1, %3
    return %4
    """


def test_one_rounded_value_has_one_result() -> None:
    graph = parse_graph(TWO)
    for cost in (estimate(graph), price_of(graph)):
        assert cost.strategy == "precision"
    for ask in (estimate, price_of):
        with pytest.raises(BackendError, match="may round one value differently") as error:
            ask(graph, strategy="precision_and_norm2")
        assert error.value.code == "B002"
