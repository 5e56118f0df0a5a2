"""Split look-ups: the same function, also where the coarse digit is misread, and cheaper."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lutra.backends import concrete
from lutra.ir.core import Graph
from lutra.ir.interpreter import evaluate
from lutra.ir.ops import Lookup
from lutra.ir.parser import parse_graph
from lutra.ir.rewriter import Rewriter
from lutra.ir.types import Ints
from lutra.ir.verifier import verify_graph
from lutra.passes.base import Context
from lutra.passes.split_lookups import SplitLookUps
from lutra.passes.splits import Split, split


@st.composite
def kinked(draw: st.DrawFn, bits: int) -> Ints:
    """A table of 2^bits entries with two slopes, rounded to whole levels."""
    i = np.arange(2**bits)
    kink = draw(st.floats(-3, 2**bits + 3))
    left, right = (draw(st.floats(-4, 4)) for _ in range(2))
    offset = draw(st.integers(-50, 50))
    return np.rint(np.where(i < kink, left, right) * (i - kink)).astype(np.int64) + offset


def misread(found: Split, i: Ints, h: Ints) -> Ints:
    """What the three look-ups make of index i when its coarse digit is read as h."""
    n = len(found.shifts)
    sign, entry = np.where(h < n, 1, -1), h % n
    place = i - (sign * found.shifts[entry] + found.middle) + len(found.window) // 2
    assert ((place >= 0) & (place < len(found.window))).all()
    return np.asarray(sign * found.levels[entry] + found.window[place])


@given(st.data())
def test_a_neighbouring_coarse_digit_gives_the_same_result(data: st.DataObject) -> None:
    bits = data.draw(st.integers(4, 9))
    coarse = data.draw(st.integers(2, bits - 1))
    table = data.draw(kinked(bits))
    found = split(table, coarse)
    cell = 2 ** (bits - coarse)
    for h in range(2**coarse + 1):
        i = np.arange(max(0, (h - 1) * cell), min(len(table), (h + 1) * cell))
        difference = misread(found, i, np.full_like(i, h)) - table[i]
        assert np.abs(difference).max(initial=0) <= found.error


def test_relu_is_split_exactly() -> None:
    for kink in range(0, 256, 7):
        assert split(np.maximum(np.arange(256) - kink, 0), 5).error == 0


def test_curved_functions_are_not_split() -> None:
    table = np.rint(100 * np.tanh(np.arange(-32, 32) / 8)).astype(np.int64)
    graph = parse_graph(f"""
        %x = input : i6[4] in [-32, 31]
        %0 = lookup %x, base=-32, table={table.tolist()}
        return %0
        """)
    assert not changes(graph)


def changes(graph: Graph, error: float = 0.01) -> int:
    rewriter = Rewriter(graph)
    SplitLookUps(error).run(graph, rewriter, Context())
    verify_graph(graph)
    return rewriter.changes


RELUS = [np.maximum(np.arange(-32, 32) + shift, 0).tolist() for shift in (-9, 0, 17)]
CHANNELS = f"""
    %x = input : i9[3x64] in [-256, 248]
    %0 = round %x, lsbs=3, exact=false
    %1 = lookup %0, base=-32, table={[[table] for table in RELUS]}
    return %1
    """


def test_each_channel_keeps_its_function_for_every_input() -> None:
    graph = parse_graph(CHANNELS)
    x = np.broadcast_to(np.arange(-256, 249).reshape(-1, 1, 1), (505, 3, 64))
    (wanted,) = evaluate(graph, [x])
    assert changes(graph)
    assert len(list(graph.of(Lookup))) == 3
    assert np.array_equal(evaluate(graph, [x])[0], wanted)


def test_exactly_rounded_values_keep_their_look_up() -> None:
    assert not changes(parse_graph(CHANNELS.replace("exact=false", "exact=true")))


def test_it_is_cheaper() -> None:
    graph = parse_graph(CHANNELS)
    before = concrete.price_of(graph, p_error=2**-40).total
    changes(graph)
    assert concrete.price_of(graph, p_error=2**-40).total < before / 1.2


def test_what_could_leave_a_later_table_is_not_split() -> None:
    """Slopes that are no whole number put results off by a level, here beyond the second table."""
    table = np.rint(np.maximum(np.arange(-32, 32), 0) * 7 / 31).astype(np.int64)
    assert split(table, 4).error == 1
    text = f"""
        %x = input : i6[4] in [-32, 31]
        %0 = lookup %x, base=-32, table={table.tolist()}
        {{}}
        """
    later = f"%1 = lookup %0, base=0, table={list(range(8))}\nreturn %1"
    assert not changes(parse_graph(text.format(later)), error=1.0)
    assert changes(parse_graph(text.format("return %0")), error=1.0)
