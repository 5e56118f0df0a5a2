"""Look-ups, rounding, max, mul, assume."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lutra.ir.core import Input
from lutra.ir.errors import TextError, VerifyError
from lutra.ir.interpreter import evaluate
from lutra.ir.ops import Assume, Lookup, Max, Mul, Round
from lutra.ir.ops.tables import compress_table, extremes
from lutra.ir.parser import parse_graph
from lutra.ir.types import Int
from lutra.testing.graphs import arrays


def value(lo: int, hi: int, *shape: int) -> Input:
    return Input("x", Int.of(shape, lo, hi))


def test_a_table_is_negacyclic() -> None:
    """table[i] for i < n, -table[i - n] beyond, i = (x - base) mod 2n."""
    lookup = Lookup(value(-2, 1).result, -2, np.array([1, 2, 3, 4]))
    x = np.arange(-40, 40)
    wanted = [(1 - 2 * (i // 4)) * [1, 2, 3, 4][i % 4] for i in (x + 2) % 8]
    assert lookup.eval(x).tolist() == wanted
    assert lookup.eval(np.array([-2, -1, 0, 1, 2, -3])).tolist() == [1, 2, 3, 4, -1, -4]


def test_tables_per_channel() -> None:
    graph = parse_graph("""
        %x = input : u1[2x3] in [0, 1]
        %0 = lookup %x, base=0, table=[[[1, 2]], [[3, 4]]]
        return %0
    """)
    x = np.array([[[0, 1, 0], [1, 0, 1]]])
    assert evaluate(graph, [x])[0].tolist() == [[[1, 2, 1], [4, 3, 4]]]
    assert graph.outputs[0].type == Int.of((2, 3), [[1], [3]], [[2], [4]])


def test_ranges_come_from_the_entries_in_reach() -> None:
    graph = parse_graph("""
        %x = input : u2[3] in [0, 3]
        %a = assume %x, lo=[0, 1, 3], hi=[0, 2, 3]
        %0 = lookup %a, base=0, table=[7, -1, 5, 0]
        return %0
    """)
    assert graph.outputs[0].type == Int.of((3,), [7, -1, 0], [7, 5, 0])


@given(st.data(), st.booleans(), st.booleans())
def test_ranges_per_element(data: st.DataObject, tables: bool, ranges: bool) -> None:
    """Against the definition, element by element."""
    shape = (2, 3)
    table = data.draw(arrays(-9, 9, (*shape, 8) if tables else (8,)))
    bounds = np.sort(data.draw(arrays(-4, 3, (2, *shape) if ranges else (2, 1, 1))), axis=0)
    x = Assume(value(-4, 3, *shape).result, *bounds)
    kind = Lookup(x.result, -4, table).result.int_type
    lo, hi = (
        np.broadcast_to(bound, shape) for bound in (x.result.int_type.lo, x.result.int_type.hi)
    )
    for i in np.ndindex(shape):
        row = np.broadcast_to(table, (*shape, 8))[i][lo[i] + 4 : hi[i] + 5]
        assert np.broadcast_to(kind.lo, shape)[i] == row.min()
        assert np.broadcast_to(kind.hi, shape)[i] == row.max()


def test_ranges_of_many_tables_take_bounded_memory() -> None:
    rng = np.random.default_rng(0)
    table = rng.integers(-99, 99, (1, 64, 16, 16, 256))
    x = value(0, 255, 1, 64, 16, 16)
    lookup = Lookup(x.result, 0, table)
    narrow = Assume(x.result, rng.integers(0, 9, (64, 16, 16)), 99)
    tracemalloc.start()
    lookup.infer()
    Lookup(narrow.result, 0, lookup.table)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * table.nbytes


def test_extremes() -> None:
    table = np.array([1, 5, 3, 9, 8, 2, 7, 0])
    low, high = extremes(table, np.array([[1], [4]]), np.array([4, 7, 6]))
    assert np.asarray(low).tolist() == [[3, 0, 2], [8, 0, 2]]
    assert np.asarray(high).tolist() == [[9, 9, 9], [8, 8, 8]]
    assert extremes(table, np.array([2]), np.array(7)) == (0, 9)
    none = np.zeros((0, 2), np.int64)
    assert np.shape(extremes(table, none, np.array([3, 3]))) == (2, 0, 2)


def test_equal_tables_are_one() -> None:
    assert compress_table(np.array([[[1, 2]], [[1, 2]]])).shape == (2,)
    assert compress_table(np.array([[[1, 2]], [[1, 3]]])).shape == (2, 1, 2)
    assert compress_table(np.array([[1, 1]])).shape == (2,)


@pytest.mark.parametrize(("lsbs", "x", "wanted"), [
    (1, [-3, -2, -1, 0, 1, 2, 3], [-1, -1, 0, 0, 1, 1, 2]),
    (2, [-6, -5, -3, -2, 1, 2, 5, 6], [-1, -1, -1, 0, 0, 1, 1, 2]),
])  # fmt: skip
def test_round_goes_to_nearest_and_halves_go_up(lsbs: int, x: list[int], wanted: list[int]) -> None:
    op = Round(value(-8, 7).result, lsbs)
    assert op.eval(np.array(x)).tolist() == wanted
    assert op.eval(np.array(x)).tolist() == [np.floor(v / 2**lsbs + 0.5) for v in x]


def test_rounding_may_need_one_entry_more() -> None:
    """63 rounds to 64 / 4 = 16, one past a table of 16 entries."""

    def read(highest: int) -> None:
        x = Round(value(0, highest).result, lsbs=2)
        Lookup(x.result, 0, np.arange(16))

    read(61)
    with pytest.raises(VerifyError, match=r"range \[0, 16\] leaves the table's \[0, 15\]"):
        read(62)


def test_max_and_mul() -> None:
    x, y = value(-3, 2, 2).result, value(0, 1, 2).result
    assert Max(x, y).result.type == Int.of((2,), 0, 2)
    assert Max(x, y).difference() == Int.of((2,), -4, 2)
    assert Max(x, y).index_bits == 2  # |x - y| <= 4
    assert Mul(x, y).result.type == Int.of((2,), -3, 2)
    assert [str(type) for type in Mul(x, y).squared()] == ["i3[2] in [-3, 3]", "i3[2] in [-4, 2]"]
    assert Mul(x, x).squared() == (x.type,)
    assert (Mul(x, y).index_bits, Mul(x, x).index_bits) == (3, 3)
    assert Mul(x, x).result.type == Int.of((2,), -6, 9)


def test_assume_narrows_and_counts() -> None:
    x = value(-5, 5, 2, 3).result
    op = Assume(x, np.array([[-9], [1]]), np.array(3))
    assert op.result.type == Int.of((2, 3), [[-5], [1]], 3)
    sample = np.array([[[4, 3, -5], [0, 1, 2]]])
    assert op.violations(sample) == 2
    assert op.eval(sample) is sample


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("lookup %x, base=0, table=[1, 2, 3]", "a table has 3 entries, not a power of two"),
        ("lookup %x, base=0, table=[1]", "a table has 1 entries, not a power of two"),
        ("lookup %x, base=0, table=1", "a table has 1 entries, not a power of two"),
        ("lookup %x, base=1, table=[1, 2, 3, 4]", "[0, 3] leaves the table's [1, 4]"),
        ("lookup %x, base=0, table=[1, 2]", "[0, 3] leaves the table's [0, 1]"),
        ("lookup %x, base=0, table=[[1, 2, 3, 4], [1, 2, 3, 5], [1, 2, 3, 4]]",
         "tables of shape (3,) do not broadcast to x (2,)"),
        ("lookup %x, base=0, table=[0.5, 1]", "integers are expected, got 0.5"),
        ("round %x, lsbs=0", "lsbs=0 is not within 1 to 61"),
        ("max %x, %s", "shapes (2,) and () differ"),
        ("mul %x, %s", "shapes (2,) and () differ"),
        ("assume %x, lo=3, hi=2", "lo is above hi"),
        ("assume %x, lo=[1, 2, 3], hi=9", "bounds of shape (3,) do not broadcast to x (2,)"),
        ("assume %x, lo=0, hi=[[1], [2]]", "bounds of shape (2, 1) do not broadcast"),
    ],
)  # fmt: skip
def test_refusals(line: str, message: str) -> None:
    with pytest.raises(TextError) as error:
        parse_graph(
            f"%x = input : u2[2] in [0, 3]\n%s = input : u2[] in [0, 3]\n%0 = {line}\nreturn %0"
        )
    assert message in error.value.message
