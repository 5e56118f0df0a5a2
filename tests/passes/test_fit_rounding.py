"""Look-ups of activations with few levels read few bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import lutra
from lutra.ir.core import Graph
from lutra.ir.errors import PipelineError
from lutra.ir.interpreter import evaluate
from lutra.ir.ops import Conv, Halve, Lookup, MulClear, Round
from lutra.ir.parser import parse_graph
from lutra.ir.rewriter import Rewriter
from lutra.ir.text import text_of_graph
from lutra.ir.verifier import verify_graph
from lutra.passes.base import Context
from lutra.passes.fit_rounding import FitRounding

FILES = Path(__file__).parents[1] / "data" / "qat"


def clipped(steps: list[list[int]], bits: int, levels: range) -> Graph:
    """A look-up of [1, channels] integers: each channel has a level more from each step on."""
    x = np.arange(-(2 ** (bits - 1)), 2 ** (bits - 1))
    table = [(levels.start + (x[:, None] >= np.array(s)).sum(1)).tolist() for s in steps]
    size = f"i{bits}[1x{len(steps)}]"
    return parse_graph(f"""
        %x = input : {size} in [{x[0]}, {x[-1]}]
        %0 = lookup %x, base={x[0]}, table={[table]}  loc "act"
        return %0
    """)


def fitted(graph: Graph, **options: float) -> Graph:
    FitRounding(observe=False, **options).run(graph, Rewriter(graph), Context())  # type: ignore[arg-type]
    verify_graph(graph)
    return graph


def every_input(graph: Graph) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    (x,) = graph.inputs
    type = x.result.int_type
    return np.arange(type.min, type.max + 1).reshape(-1, 1, 1).repeat(type.shape[1], 2)


STEPS = [[3, 9, 15], [0, 4, 8], [-20, -13, -6], [2, 5, 8]]


@pytest.mark.parametrize("levels", [range(4), range(-1, 3), range(3)])
def test_few_bits_are_exact_where_cells_meet_the_steps(levels: range) -> None:
    count = len(levels) - 1
    before = clipped([s[:count] for s in STEPS], 7, levels)
    after = fitted(before.clone(), bits=5, slack=0.0)
    x = every_input(before)
    np.testing.assert_array_equal(evaluate(after, [x])[0], evaluate(before, [x])[0])
    (look_up,) = after.of(Lookup)
    assert look_up.entries == 32
    assert bool(list(after.of(Halve))) == (count % 2 == 1)
    assert not next(after.of(Round)).exact


def test_look_ups_of_few_bits_stay() -> None:
    graph = clipped(STEPS, 7, range(4))
    assert text_of_graph(fitted(graph.clone(), bits=7)) == text_of_graph(graph)


def test_what_is_rounded_already_is_rounded_further() -> None:
    graph = parse_graph(
        f"""
        %x = input : i8[1x1] in [-120, 119]
        %0 = round %x, lsbs=2, exact=false
        %1 = lookup %0, base=-32, table={[int(i >= -4) + int(i >= 4) for i in range(-32, 32)]}
        return %1
    """
    )
    after = fitted(graph.clone(), bits=3)
    assert [op.entries for op in after.of(Lookup)] == [8]
    assert len(list(after.of(Round))) == 1
    x = np.arange(-120, 120).reshape(-1, 1, 1)
    assert np.mean(evaluate(after, [x])[0] != evaluate(graph, [x])[0]) < 0.02


def test_wide_ranges_are_seen_in_steps() -> None:
    bits = 14
    graph = clipped([[1000, 3000, 5000]], bits, range(4))
    after = fitted(graph.clone(), bits=4)
    x = every_input(graph)
    assert np.mean(evaluate(after, [x])[0] != evaluate(graph, [x])[0]) < 0.02


def test_options_out_of_range() -> None:
    with pytest.raises(PipelineError, match="slack"):
        FitRounding(slack=-1.0)


def test_a_trained_model_keeps_its_accuracy_at_three_bits() -> None:
    with np.load(FILES / "qat_mlp12.npz") as data:
        x, labels = data["x_test"], data["y_test"]
    file = FILES / "qat_mlp12.qonnx.onnx"
    exact = lutra.compile(file, pipeline="qat")
    rounded = lutra.compile(file, x[:250], "qat{rounding=3,margin=auto}", p_error=2**-40)
    assert {op.index_bits for op in rounded.module.circuit.of(Lookup)} == {3}
    assert 15 * lutra.price(rounded).total < lutra.price(exact, p_error=2**-40).total
    for mode in ("clear", "simulate"):
        found = np.asarray(rounded.predict(x[250:], mode=mode, seed=0)).argmax(1)
        assert np.mean(found == labels[250:]) >= 0.93, mode


def test_cells_belong_to_channels_not_to_places() -> None:
    """At the border of an image a convolution adds up less; that makes no cells of its own."""
    graph = parse_graph(
        """
        %x = input : u4[1x2x5x5] in [0, 15]
        %0 = assume %x, lo=0, hi=[[[[15]], [[9]]]]
        %1 = pad %0, before=[0, 0, 1, 1], after=[0, 0, 1, 1], value=0
        %2 = conv %1, w=[[[[1, 2, 1], [2, 4, 2], [1, 2, 1]]], [[[0, 1, 0], [1, 1, 1], [0, 1, 0]]]],
             group=2
        %3 = lookup %2, base=0, table=TABLE
        return %3
        """.replace(",\n             ", ", ").replace("TABLE", str([i // 64 for i in range(256)]))
    )
    (conv,) = graph.of(Conv)
    assert conv.result.int_type.hi.size == 2 * 5 * 5
    fitted(graph, bits=3)
    (factor,) = graph.of(MulClear)
    assert factor.c.size <= 2
