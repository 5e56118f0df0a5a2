"""Prepared circuits: bit for bit the reference meaning, whatever steps they become."""

import numpy as np
import pytest

from lutra.backends.numpy import layers
from lutra.backends.numpy.plan import Plan
from lutra.ir.core import Graph
from lutra.ir.interpreter import Interpreter
from lutra.ir.ops import Conv, Lookup, MatMul, Reshape
from lutra.ir.parser import parse_graph
from lutra.ir.rewriter import Rewriter
from lutra.ir.types import Array, Int

SAMPLES = 37


def same(graph: Graph, samples: int = SAMPLES) -> None:
    """Results, their types and violations are those of the reference."""
    rng = np.random.default_rng(0)
    inputs = [
        rng.integers(node.type.min, node.type.max, (samples, *node.type.shape), endpoint=True)
        for node in graph.inputs
        if isinstance(node.type, Int)
    ]
    reference, prepared = Interpreter(graph), Plan(graph)
    for _ in range(2):
        wanted, got = reference.run(inputs), prepared.run(inputs)
        for first, second in zip(wanted, got, strict=True):
            assert second.dtype == np.int64
            np.testing.assert_array_equal(second, first)
        assert prepared.violations == reference.violations


def net(rows: str) -> Graph:
    return parse_graph(f"{rows}\nreturn %y")


LAYERS = """
    %x = input : u8[1x4] in [0, 255]
    %0 = matmul %x, w=[[1, -2, 3], [3, 4, 0], [-5, 1, 1], [2, 2, -9]]
    %1 = add_clear %0, c=[[1, -100, 7]]
    %2 = assume %1, lo=[[-500, -100, -600]], hi=[[500, 300, 900]]
    %3 = round %2, lsbs=6, exact=false
    %4 = lookup %3, base=-16, table=[[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], [5, 4, 5, 4, 5, 4, 5, 4, 5, 4, 5, 4, 5, 4, 5, 4, 5, 4, 5, 4, 5, 4, 5, 4, 5, 4, 5, 4, 5, 4, 5, 4], [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]]
"""  # noqa: E501


def test_a_layer_and_its_look_up_are_two_steps() -> None:
    graph = net(f"{LAYERS}\n%y = matmul %4, w=[[1, 2], [3, -4], [5, 6]]")
    names = [type(step).__name__ for step in Plan(graph)._steps]
    assert names == ["Input", "Product", "Cells", "Product"]
    same(graph)
    same(graph, samples=1)
    same(graph, samples=0)


@pytest.mark.parametrize(
    "rows",
    [
        "%y = add %4, %4",
        "%5 = reshape %4, shape=[3]\n%y = mul %5, %5",
        "%5 = matmul %4, w=[[1], [2], [3]]\n%6 = sub %4, %5\n%y = max %6, %0",
        "%y = concat %4, %1, axis=1",
        "%5 = pad %4, before=[0, 1], after=[0, 2], value=-3\n%y = neg %5",
        "%5 = matmul %4, w=[[1], [2], [3]]\n%6 = concat %5, %4, axis=1\n"
        "%y = matmul %6, w=[[1], [2], [3], [4]]",
    ],
)
def test_other_readers(rows: str) -> None:
    same(net(f"{LAYERS}\n{rows}"))


@pytest.mark.parametrize("weight", [1, 2**14, 2**20, 2**40, 2**50])
def test_sums_stay_exact(weight: int) -> None:
    same(
        net(f"""
        %x = input : i9[2] in [-256, 255]
        %0 = matmul %x, w=[[{weight}, 1], [{weight + 1}, -1]]
        %y = add_clear %0, c=[1, 2]
    """)
    )


def test_claims_are_not_trusted_in_the_choice_of_types() -> None:
    same(
        net("""
        %x = input : i31[2] in [-1073741824, 1073741823]
        %0 = assume %x, lo=0, hi=3
        %y = matmul %0, w=[[1], [1]]
    """)
    )
    same(
        net("""
        %x = input : i33[2] in [-4294967296, 4294967295]
        %0 = assume %x, lo=0, hi=3
        %1 = add_clear %0, c=[3, -3]
        %y = lookup %1, base=-3, table=[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
    """)
    )


def convolution(shape: tuple[int, ...], w: Array, **attributes: object) -> Graph:
    graph = Graph("circuit")
    rewriter = Rewriter(graph)
    x = rewriter.input("x", Int.of(shape, -8, 7))
    y = rewriter.insert(Conv(x, w, **attributes)).result  # type: ignore[arg-type]
    table = rewriter.insert(Lookup(y, -(2**11), np.arange(2**12) % 7)).result
    flat = rewriter.insert(Reshape(table, (1, int(np.prod(table.shape))))).result
    last = MatMul(flat, np.random.default_rng(1).integers(-3, 4, (flat.shape[1], 2)))
    rewriter.returns([rewriter.insert(last).result])
    return graph


@pytest.mark.parametrize(
    ("shape", "w", "attributes"),
    [
        ((1, 3, 9), (4, 3, 3), {"strides": (2,)}),
        ((1, 4, 6, 7), (6, 2, 3, 2), {"group": 2, "strides": (1, 2)}),
        ((1, 4, 7, 6), (4, 1, 2, 3), {"group": 4, "dilations": (2, 1)}),
        ((1, 2, 4, 5, 4), (3, 2, 2, 2, 2), {}),
        ((2, 2, 5, 5), (3, 2, 3, 3), {}),
    ],
)
@pytest.mark.parametrize("chunk", [layers.CHUNK, 1000])
def test_convolutions(
    shape: tuple[int, ...],
    w: tuple[int, ...],
    attributes: dict[str, object],
    chunk: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(layers, "CHUNK", chunk)
    weights = np.random.default_rng(0).integers(-4, 5, w)
    same(convolution(shape, weights, **attributes))


def test_inputs_are_left_alone() -> None:
    graph = net("""
        %x = input : u4[1] in [0, 15]
        %0 = round %x, lsbs=1, exact=true
        %y = lookup %0, base=0, table=[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]
    """)
    x = np.arange(16)[:, None]
    Plan(graph).run([x])
    np.testing.assert_array_equal(x[:, 0], np.arange(16))
