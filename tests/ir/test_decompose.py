"""Operations that say how others compute them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from lutra.backends import concrete, numpy, onnx
from lutra.ir.analysis import LookUpSite, look_ups, pbs_count
from lutra.ir.core import OPS, Op, Value, op
from lutra.ir.decompose import decompose, decomposed, parts
from lutra.ir.errors import VerifyError
from lutra.ir.interpreter import evaluate
from lutra.ir.ops import AddClear, Assume, Lookup, Max, MulClear, Neg
from lutra.ir.parser import parse_graph
from lutra.ir.rewriter import Rewriter
from lutra.ir.types import Array, Int
from lutra.ir.verifier import verify_graph


@pytest.fixture(autouse=True)
def own_ops() -> Iterator[None]:
    """Operations of a plugin, which vanish behind each test."""
    before = dict(OPS)

    @op("size")
    class Size(Op):
        """|x|."""

        x: Value

        def infer(self) -> Int:
            x = self.x.int_type
            return Int.of(x.shape, 0, np.maximum(-x.lo, x.hi))

        def eval(self, x: Array) -> Array:
            return np.abs(x)

        def decompose(self) -> Value:
            return Max(self.x, Neg(self.x).result).result

    @op("spread")
    class Spread(Op):
        """|x| - k and |x| + k, by way of `size`."""

        x: Value
        k: int = 1

        def infer(self) -> tuple[Int, Int]:
            size = Size(self.x).result.int_type
            less, more = (Int.of(size.shape, size.lo + k, size.hi + k) for k in (-self.k, self.k))
            return less, more

        def eval(self, x: Array) -> tuple[Array, Array]:
            return np.abs(x) - self.k, np.abs(x) + self.k

        def decompose(self) -> tuple[Value, ...] | None:
            if self.k != 1:
                return None
            size = Size(self.x).result
            both = [AddClear(size, np.array(k)).result for k in (-1, 1)]
            return tuple(both)

    yield
    OPS.clear()
    OPS.update(before)


TEXT = """
%x = input : i4[3] in [-5, 7]
%0 = size %x  loc "a"
%1, %2 = spread %0  loc "b"
return %1, %2, %0
"""
X = np.arange(-5, 8)[:, None].repeat(3, 1)


def test_every_operation_is_replaced_and_keeps_its_origin_and_range() -> None:
    graph = parse_graph(TEXT)
    types = [value.type for value in graph.outputs]
    expected = evaluate(graph, [X])
    rewriter = Rewriter(graph)
    decompose(graph, rewriter)
    verify_graph(graph)
    assert rewriter.changes
    assert not {"size", "spread"} & {op.opname for op in graph.ops}
    assert [value.type for value in graph.outputs] == types
    assert {op.loc for op in graph.of(AddClear)} == {("b",)}
    for result, wanted in zip(evaluate(graph, [X]), expected, strict=True):
        np.testing.assert_array_equal(result, wanted)
    changes = rewriter.changes
    decompose(graph, rewriter)
    assert rewriter.changes == changes


def test_what_has_no_decomposition_stays() -> None:
    graph = parse_graph("%x = input : i4[] in [-5, 7]\n%0, %1 = spread %x, k=2\nreturn %0")
    decompose(graph, Rewriter(graph))
    assert [op.opname for op in graph.ops] == ["input", "spread", "return"]
    assert list(parts(next(graph.of(OPS["spread"])))) == []


def test_a_copy_is_decomposed() -> None:
    graph = parse_graph(TEXT)
    text = str(graph)
    assert list(decomposed(graph).of(Max))
    assert str(graph) == text
    plain = parse_graph("%x = input : i4[] in [-5, 7]\nreturn %x")
    assert decomposed(plain) is plain


def test_a_range_that_the_parts_do_not_see_is_claimed() -> None:
    graph = parse_graph("%x = input : i4[] in [-5, 7]\n%0 = size %x\nreturn %0")
    decompose(graph, Rewriter(graph))
    (claim,) = graph.of(Assume)
    assert (claim.lo, claim.hi) == (0, 7)


def test_bootstraps_are_counted_before_and_after() -> None:
    graph = parse_graph(TEXT)
    assert [type(part) for part in parts(list(graph.ops)[1])] == [Neg, Max]
    assert pbs_count(graph) == pbs_count(decomposed(graph)) == 6
    sites = look_ups(graph)
    assert [site.op.opname for site in sites] == ["size", "spread"]
    assert sites[0] == LookUpSite(sites[0].op, 3, 4, 4)


def test_every_backend_takes_them() -> None:
    graph = parse_graph(TEXT)
    expected = evaluate(graph, [X])
    for executable in (numpy.emit(graph), onnx.emit(graph), numpy.emit(graph, p_error=1e-9)):
        for result, wanted in zip(executable.run(X), expected, strict=True):
            np.testing.assert_array_equal(result, wanted)
    noisy = numpy.emit(graph, p_error=0.5)
    noisy.run(X)
    assert noisy.statistics["errors"]
    assert concrete.estimate(graph).flat()["price"] > 0


def test_results_must_be_of_the_same_kind() -> None:
    @op("narrow")
    class Narrow(Op):
        """x, said to be its first element."""

        x: Value

        def infer(self) -> Int:
            return Int.of((), self.x.int_type.min, self.x.int_type.max)

        def decompose(self) -> Value:
            return MulClear(self.x, np.array(1)).result

    graph = parse_graph('%x = input : i4[3] in [-5, 7]\n%0 = narrow %x  loc "n"\nreturn %0')
    with pytest.raises(VerifyError, match=r"narrow decomposes into integers \(3,\), not .* \(\)"):
        decompose(graph, Rewriter(graph))


def test_a_circle_is_an_error() -> None:
    @op("circle")
    class Circle(Op):
        """A table that decomposes into itself."""

        x: Value

        def infer(self) -> Int:
            return self.x.int_type

        def decompose(self) -> Value:
            return Circle(Lookup(self.x, -8, np.arange(-8, 8)).result).result

    graph = parse_graph("%x = input : i4[] in [-5, 7]\n%0 = circle %x\nreturn %0")
    with pytest.raises(VerifyError, match=r"V001.*circle .*without end"):
        decompose(graph, Rewriter(graph))
