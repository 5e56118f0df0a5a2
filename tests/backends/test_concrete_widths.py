"""In how many bits values are encoded."""

import numpy as np
import pytest

from lutra.backends.concrete.client import decode
from lutra.backends.concrete.emission import Port
from lutra.backends.concrete.options import Widths
from lutra.backends.concrete.widths import encodings, output_bits
from lutra.ir.parser import parse_graph
from lutra.ir.types import Int


@pytest.mark.parametrize(
    ("lo", "hi", "bits"), [(0, 0, 1), (5, 6, 1), (-1, 1, 2), (0, 7, 3), (-8, 7, 4), (-8, 8, 5)]
)
def test_span_bits(lo: int, hi: int, bits: int) -> None:
    assert Int.of((), lo, hi).span_bits == bits


def bits_of(text: str, widths: Widths = "needed") -> list[int]:
    """Bits of each value in order."""
    graph = parse_graph(text)
    found = encodings(graph, widths)
    return [found[value] for op in graph.ops for value in op.results]


CHAIN = """
%x = input : u4[2] in [0, 15]
%0 = matmul %x, w=[[100], [-100]]
%1 = assume %0, lo=-32, hi=24
%2 = round %1, lsbs=3
%3 = lookup %2, base=-4, table=[0, 1, 2, 3, 4, 5, 6, 90]
%4 = mul_clear %3, c=9
return %4
"""


def test_values_get_the_bits_that_are_read() -> None:
    """6 of a 12-bit accumulator by the look-up; 7 of the table; 10 of which the output uses 9."""
    assert bits_of(CHAIN) == [6, 6, 6, 1, 9, 9]


def test_full_widths_are_those_of_the_ranges() -> None:
    assert bits_of(CHAIN, "full") == [12, 12, 6, 3, 10, 10]


def test_a_wide_reader_leaves_the_other_narrow() -> None:
    text = """
    %x = input : u2[1] in [0, 3]
    %0 = add %x, %x
    %1 = lookup %0, base=0, table=[0, 1, 0, 1, 0, 1, 0, 1]
    %2 = mul_clear %x, c=1000
    return %1, %2
    """
    assert bits_of(text) == [11, 3, 1, 11]


def test_max_reads_one_bit_more_than_it_makes() -> None:
    text = """
    %x = input : u3[1] in [0, 7]
    %y = input : u3[1] in [0, 7]
    %0 = max %x, %y
    %1 = max %0, %y
    return %1
    """
    assert bits_of(text) == [4, 4, 3, 2]


@pytest.mark.parametrize(("lo", "hi"), [(0, 15), (-8, 7), (-3, 12), (100, 131), (-40, -9), (7, 7)])
def test_outputs_decode_from_residues_of_one_bit_less(lo: int, hi: int) -> None:
    port = Port("y", (hi - lo + 1,), lo, hi, output_bits(Int.of((), lo, hi)))
    values = np.arange(lo, hi + 1)
    assert port.bits == max(1, (hi - lo).bit_length() - 1)
    assert decode(values % (2 << port.bits), port).tolist() == values.tolist()
