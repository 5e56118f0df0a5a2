"""Run with `pytest` once the package is installed."""

import pytest

from lutra.ir.analysis import pbs_count
from lutra.ir.parser import parse_graph
from lutra.testing import check_backends, check_graph, check_pass

PRODUCTS = """
%x = input : i3[2] in [-4, 3]
%0 = mul %x, %x
%1 = neg %x
%2 = mul %x, %1
%3 = add %0, %2
return %3
"""
WITH_SQUARE = PRODUCTS.replace("mul %x, %x", "square %x")
TYPES = ["i3[2] in [-4, 3]", "i3[1] in [-4, -1]", "u3[] in [1, 7]", "i14[] in [-5000, 5000]"]


def test_the_pass() -> None:
    check_pass(PRODUCTS, "use-square", WITH_SQUARE)
    check_pass(PRODUCTS, "squares", WITH_SQUARE)


@pytest.mark.parametrize("type", TYPES)
def test_the_operation(type: str) -> None:
    check_graph(f"%x = input : {type}\n%0 = square %x\nreturn %0")


def test_one_bootstrap_for_each_element() -> None:
    assert pbs_count(parse_graph(WITH_SQUARE)) == 2 + 2 * 2


def test_backends_agree() -> None:
    check_backends(WITH_SQUARE)
