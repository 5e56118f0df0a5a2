"""Maxima over windows: right for all of them, and as few as overlaps allow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lutra.ir.core import Graph
from lutra.ir.interpreter import evaluate
from lutra.ir.ops import Max
from lutra.ir.rewriter import Rewriter
from lutra.ir.types import Int
from lutra.passes.lower_pooling import Windows, plan_of


def maxima(windows: Windows, lines: int = 1) -> tuple[Graph, int]:
    """A graph that takes the maxima of an input [lines, size], and how many it takes of two."""
    graph = Graph()
    rewriter = Rewriter(graph)
    x = rewriter.input("x", Int.bits_of((lines, windows.size), 4))
    y = windows.maxima(x)
    rewriter.insert(y.owner)
    rewriter.returns([y], ["y"])
    return graph, sum(op.result.int_type.size for op in graph.of(Max))


@given(st.data())
def test_windows(data: st.DataObject) -> None:
    kernel, dilation = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 3))
    size = data.draw(st.integers((kernel - 1) * dilation + 1, 30))
    stride = data.draw(st.integers(1, 4))
    pads = data.draw(st.integers(0, kernel + 1)), data.draw(st.integers(0, kernel + 1))
    windows = Windows(1, size, kernel, stride, dilation, pads)
    graph, found = maxima(windows, lines=2)
    x = np.random.default_rng(0).integers(0, 16, (3, 2, size))
    taps = np.arange(windows.count)[:, None] * stride + np.arange(kernel) * dilation
    (y,) = evaluate(graph, [x])
    padded = np.pad(x, ((0, 0), (0, 0), pads))
    np.testing.assert_array_equal(y, padded[..., taps].max(-1))
    planned = 2 * plan_of(kernel, windows.count, stride, dilation).maxima
    assert found == planned if not any(pads) else found <= planned
    assert found <= 2 * (kernel - 1) * windows.count


def test_padding_is_no_operand() -> None:
    """Of 3 elements in a window, those at the ends have 2, so 1 maximum is enough there."""
    assert maxima(Windows(1, 7, 3, 1, 1, (1, 1)))[1] == 2 * 7 - 2
    assert maxima(Windows(1, 8, 3, 2, 1, (1, 0)))[1] == 2 * 4 - 1


@pytest.mark.parametrize(
    ("kernel", "stride", "size", "most"),
    [
        (2, 2, 8, 4),  # nothing is shared
        (3, 2, 9, 8),
        (8, 1, 8, 7),
        (4, 2, 10, 5 + 4),  # pairs serve two windows
        (5, 2, 11, 5 + 4 + 4),
        (4, 1, 11, 10 + 8),
        (5, 1, 12, 10 + 8 + 8),
        (13, 1, 20, 19 + 17 + 13 + 8),  # pairs, fours, eights, of which two make thirteen
    ],
)
def test_shared_maxima(kernel: int, stride: int, size: int, most: int) -> None:
    assert maxima(Windows(1, size, kernel, stride, 1))[1] == most
