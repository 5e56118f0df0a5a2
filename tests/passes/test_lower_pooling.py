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
    windows = Windows(1, size, kernel, stride, dilation)
    graph, found = maxima(windows, lines=2)
    x = np.random.default_rng(0).integers(0, 16, (3, 2, size))
    taps = np.arange(windows.count)[:, None] * stride + np.arange(kernel) * dilation
    (y,) = evaluate(graph, [x])
    np.testing.assert_array_equal(y, x[..., taps].max(-1))
    assert found == 2 * plan_of(kernel, windows.count, stride, dilation).maxima
    assert found <= 2 * (kernel - 1) * windows.count


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
