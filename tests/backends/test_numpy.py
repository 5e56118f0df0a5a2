"""Circuits in the clear: bit-exact without look-up errors, and with errors of the stated kind."""

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lutra.backends import numpy as backend
from lutra.backends.base import Limits, statistics_of
from lutra.ir.core import Graph
from lutra.ir.errors import InputError
from lutra.ir.interpreter import evaluate
from lutra.ir.ops import Assume
from lutra.ir.parser import parse_graph
from lutra.ir.samples import samples
from lutra.ir.types import Array
from lutra.testing.graphs import INTEGER_OPS, integer_graphs

LEVELLED = sorted(set(INTEGER_OPS) - {"lookup", "max", "mul"})
MANY = 200_000


def circuit(*lines: str, reach: tuple[int, int] = (0, 255)) -> Graph:
    lo, hi = reach
    bits = max(1, hi.bit_length()) if lo == 0 else max(hi.bit_length(), (-lo - 1).bit_length()) + 1
    head = f"%x = input : {'iu'[lo == 0]}{bits}[1] in [{lo}, {hi}]"
    return parse_graph("\n".join([head, *lines, "return %y"]))


def repeated(value: int) -> Array:
    return np.full((MANY, 1), value)


@given(integer_graphs(), st.integers(0, 99))
def test_without_errors_it_is_the_reference(graph: Graph, seed: int) -> None:
    inputs = samples(graph, seed=seed)
    results = backend.emit(graph).run(*inputs)
    for got, wanted in zip(results, evaluate(graph, inputs), strict=True):
        np.testing.assert_array_equal(got, wanted)


@given(integer_graphs(kinds=LEVELLED), st.integers(0, 99))
def test_levelled_operations_never_err(graph: Graph, seed: int) -> None:
    inputs = samples(graph, seed=seed)
    executable = backend.emit(graph, p_error=0.5, seed=seed)
    for got, wanted in zip(executable.run(*inputs), evaluate(graph, inputs), strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert executable.statistics["errors"] == 0


# --- outside the assumed range ------------------------------------------------------------------
def test_a_value_outside_wraps_and_reads_the_negated_entry() -> None:
    graph = circuit(
        "%a = assume %x, lo=-2, hi=1", "%y = lookup %a, base=-2, table=[1, 2, 3, 4]",
        reach=(-16, 15),
    )  # fmt: skip
    executable = backend.emit(graph)
    (y,) = executable.run(np.arange(-7, 9)[:, None])
    base, table = -2, [1, 2, 3, 4]
    by_definition = [table[i] if (i := (x - base) % 8) < 4 else -table[i - 4] for x in range(-7, 9)]
    assert y[:, 0].tolist() == by_definition
    (assume,) = graph.of(Assume)
    assert executable.violations == {assume: 12}
    executable.run(np.array([[-3], [0]]))
    assert executable.violations == {assume: 13}
    assert statistics_of(executable) == {
        "bootstraps": 1, "p_error": 0.0, "violations": 13, "errors": 0,
    }  # fmt: skip


def test_each_channel_wraps_in_its_own_table() -> None:
    graph = parse_graph("""
        %x = input : u3[2] in [0, 7]
        %a = assume %x, lo=0, hi=[1, 3]
        %y = lookup %a, base=0, table=[[1, 2, 3, 4], [5, 6, 7, 8]]
        return %y
    """)
    executable = backend.emit(graph)
    (y,) = executable.run(np.array([[1, 3], [4, 4], [7, 7], [2, 2]]))
    assert y.tolist() == [[2, 8], [-1, -5], [-4, -8], [3, 7]]
    assert sum(executable.violations.values()) == 5


# --- look-up errors -----------------------------------------------------------------------------
def test_sigma() -> None:
    assert backend.sigma(1e-5) == pytest.approx(0.1132, abs=1e-4)
    assert backend.sigma(0.3173) == pytest.approx(0.5, abs=1e-3)


APPROXIMATE = circuit(
    "%r = round %x, lsbs=4, exact=false",
    f"%y = lookup %r, base=0, table={list(range(0, 320, 10))}",
)


@pytest.mark.parametrize(("x", "entry"), [(80, 50), (84, 50), (87, 50), (88, 60), (95, 60)])
def test_approximate_rounding_errs_near_the_middle(x: int, entry: int) -> None:
    executable = backend.emit(APPROXIMATE, p_error=1e-3, seed=1)
    (y,) = executable.run(repeated(x))
    noise = NormalDist(0, backend.sigma(1e-3))
    place = (x + 0.5) / 16 - (entry == 60)
    above, below = 5.5 - place, 4.5 - place
    assert (y == entry + 10).mean() == pytest.approx(1 - noise.cdf(above), abs=0.005)
    assert (y == entry - 10).mean() == pytest.approx(noise.cdf(below), abs=0.005)
    assert executable.statistics["errors"] == (y != entry).sum()


def test_rare_errors_are_as_rare_as_asked() -> None:
    executable = backend.emit(APPROXIMATE, p_error=1e-3, seed=0)
    (y,) = executable.run(repeated(80))
    assert (y != 50).mean() == pytest.approx(1.3e-3, rel=0.2)  # half a unit off the middle
    (y,) = backend.emit(APPROXIMATE, p_error=2.0**-40, seed=0).run(repeated(80))
    assert (y == 50).all()


@pytest.mark.parametrize("rounding", [False, True])
def test_other_look_ups_read_a_neighbour(rounding: bool) -> None:
    rows = ["%r = round %x, lsbs=1, exact=true"] if rounding else ["%r = add_clear %x, c=0"]
    graph = circuit(*rows, "%y = lookup %r, base=0, table=[1, 2, 30, 4]", reach=(0, 3))
    (y,) = backend.emit(graph, p_error=0.2, seed=3).run(repeated(3 if rounding else 2))
    values, counts = np.unique(y, return_counts=True)
    if not rounding:
        assert values.tolist() == [2, 4, 30]
        assert counts / MANY == pytest.approx([0.1, 0.1, 0.8], abs=0.01)
    else:  # one bit is rounded off by a bootstrap of its own, which may err as well
        assert values.tolist() == [-1, 1, 2, 4, 30]
        assert counts / MANY == pytest.approx([0.01, 0.01, 0.16, 0.16, 0.66], abs=0.01)


def test_exact_rounding_bootstraps_too() -> None:
    table = list(range(32))
    graph = circuit("%r = round %x, lsbs=4, exact=true", f"%y = lookup %r, base=0, table={table}")
    statistics = backend.emit(graph, p_error=0.25).statistics
    assert (statistics["bootstraps"], statistics["p_error"]) == (5, 0.25)


def test_beyond_the_ends_errors_wrap() -> None:
    graph = circuit("%y = lookup %x, base=0, table=[1, 2, 3, 4]", reach=(0, 3))
    (y,) = backend.emit(graph, p_error=0.5, seed=3).run(repeated(3))
    assert set(np.unique(y)) == {3, 4, -1}
    (y,) = backend.emit(graph, p_error=0.5, seed=3).run(repeated(0))
    assert set(np.unique(y)) == {1, 2, -4}


@pytest.mark.parametrize("op", ["max", "mul", "square"])
def test_max_and_product_err(op: str) -> None:
    row = "mul %x, %x" if op == "square" else f"{op} %x, %c"
    graph = circuit("%c = add_clear %x, c=-2", f"%y = {row}", reach=(0, 9))
    (exact,) = evaluate(graph, [repeated(5)])
    executable = backend.emit(graph, p_error=0.1, seed=3)
    (y,) = executable.run(repeated(5))
    bootstraps = {"max": 1, "mul": 2, "square": 1}[op]
    assert (y != exact).mean() == pytest.approx(1 - 0.9**bootstraps, abs=0.02)
    assert statistics_of(executable)["bootstraps"] == bootstraps


# --- options ------------------------------------------------------------------------------------
def test_a_seed_fixes_the_errors() -> None:
    x = np.random.default_rng(0).integers(0, 256, (500, 1))
    first, second = (backend.emit(APPROXIMATE, p_error=0.05, seed=7) for _ in range(2))
    once, again = first.run(x)[0], first.run(x)[0]
    assert (once != again).any()  # the random numbers go on
    np.testing.assert_array_equal(second.run(x)[0], once)
    np.testing.assert_array_equal(second.run(x)[0], again)
    assert (backend.emit(APPROXIMATE, p_error=0.05, seed=8).run(x)[0] != once).any()


@pytest.mark.parametrize("p_error", [-0.1, 1.0, 2, float("nan")])
def test_p_error_is_a_probability(p_error: float) -> None:
    with pytest.raises(InputError) as error:
        backend.emit(APPROXIMATE, p_error=p_error)
    assert error.value.code == "I005"


def test_inputs_are_checked() -> None:
    executable = backend.emit(APPROXIMATE)
    for wrong, code in [
        ([np.array([[256]])], "I002"),
        ([np.array([[1.5]])], "I002"),
        ([np.array([1])], "I001"),
        ([], "I004"),
    ]:
        with pytest.raises(InputError) as error:
            executable.run(*wrong)
        assert error.value.code == code


def test_limits() -> None:
    assert backend.limits == Limits(lookup_bits=16, value_bits=62)
    assert backend.name == "numpy"
