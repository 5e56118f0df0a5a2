"""Clear values: where they come from, how they are printed, what they spare."""

import numpy as np
import pytest

from lutra.ir.analysis import pbs_count
from lutra.ir.core import Module
from lutra.ir.decompose import decomposed
from lutra.ir.errors import TextError
from lutra.ir.interpreter import evaluate
from lutra.ir.ops import MatMulValues, Mul
from lutra.ir.parser import parse_graph
from lutra.ir.rewriter import Rewriter
from lutra.ir.text import text_of_module
from lutra.ir.types import Int
from lutra.ir.verifier import verify_graph

TEXT = """\
%x = input : u4[2] in [0, 15]
%m = input : clear u2[2] in [0, 3]
%f = input : clear float32[2]
%0 = int_constant value=[1, -2] : i2[2] in [-2, 1]
%1 = mul %m, %0 : clear i4[2] in [-6, 3]
%2 = onnx.Relu %f : clear float32[2]
%3 = mul %x, %1 : i8[2] in [-90, 45]
return %3, %2
"""


def test_what_depends_on_clear_inputs_alone_is_clear() -> None:
    graph = parse_graph(TEXT)
    verify_graph(graph)
    assert text_of_module(Module([graph])) == text_of_module(Module([graph.clone()])) == TEXT
    assert [v.clear for op in graph.ops for v in op.results] == [0, 1, 1, 0, 1, 1, 0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("%1 = neg %m : i3[2] in [-3, 0]", "the type is clear i3.*, not i3"),
        ("%1 = neg %x : clear i5[2] in [-15, 0]", "the type is i5.*, not clear i5"),
    ],
)
def test_the_mark_cannot_lie(line: str, message: str) -> None:
    inputs = "".join(TEXT.splitlines(keepends=True)[:2])
    with pytest.raises(TextError, match=message):
        parse_graph(f"{inputs}{line}\nreturn %1")


def test_it_follows_what_is_replaced() -> None:
    graph = parse_graph("%x = input : u2[] in [0, 3]\n%0 = neg %x\n%1 = neg %0\nreturn %1")
    rewriter = Rewriter(graph)
    clear = rewriter.input("y", Int.of((), 0, 3), clear=True)
    rewriter.replace_uses(graph.inputs[0].result, clear)
    assert graph.outputs[0].clear
    verify_graph(graph)


@pytest.mark.parametrize(("mark", "count"), [("clear ", 0), ("", 2 * 2 * 3 * 2 * 2)])
def test_products_of_matrices(mark: str, count: int) -> None:
    """Two look-ups for each product of two encrypted numbers, none where one is clear."""
    graph = parse_graph(f"""
        %x = input : i3[2x2x3] in [-3, 3]
        %y = input : {mark}u2[3x2] in [0, 3]
        %0 = matmul_values %x, %y : i6[2x2x2] in [-27, 27]
        return %0
    """)
    rng = np.random.default_rng(0)
    x, y = rng.integers(-3, 4, (5, 2, 2, 3)), rng.integers(0, 4, (5, 3, 2))
    parts = decomposed(graph)
    assert pbs_count(graph) == pbs_count(parts) == count
    assert bool(list(parts.of(Mul))) == bool(count)
    for meaning in (graph, parts):
        np.testing.assert_array_equal(evaluate(meaning, [x, y])[0], x @ y[:, None])


def test_ranges_of_products_are_kept_per_element() -> None:
    graph = parse_graph("""
        %x = input : u2[1x2] in [0, 3]
        %0 = int_constant value=[[1, -2], [3, 0]]
        %1 = matmul_values %x, %0
        return %1
    """)
    (product,) = graph.of(MatMulValues)
    assert product.result.type == Int.of((1, 2), [[0, -6]], [[12, 0]])
