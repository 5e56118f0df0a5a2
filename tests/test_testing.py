"""What `lutra.testing` gives authors sees the mistakes that they make."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from fake_packages import Install
from lutra.ir.core import OPS, Graph, Op, Value, op
from lutra.ir.errors import Error
from lutra.ir.ops import AddClear, Lookup, MulClear
from lutra.ir.parser import parse_module
from lutra.ir.rewriter import Rewriter
from lutra.ir.types import Array, Int
from lutra.passes import Context, Contract, Exact, Lossy, Pass
from lutra.testing import check_backends, check_graph, check_pass

TEXT = """
%x = input : u2[3] in [0, 3]
%0 = mul_clear %x, c=2
%1 = add_clear %0, c=[1, 2, 3]
return %1
"""


@dataclass(frozen=True)
class Grow(Pass):
    """A pass that adds c behind every product."""

    name: ClassVar[str] = "grow"
    contract: ClassVar[Contract] = Lossy
    c: int = 1

    def run(self, graph: Graph, rewriter: Rewriter, context: Context) -> None:
        for node in graph.of(MulClear):
            users = node.result.users
            more = rewriter.insert_after(node.result, AddClear(node.result, np.array(self.c)))
            rewriter.replace_uses(node.result, more.result, only=users)


@dataclass(frozen=True)
class GrowExactly(Grow):
    """The same, which promises what it cannot keep."""

    name: ClassVar[str] = "grow-exactly"
    contract: ClassVar[Contract] = Exact


# --- passes -------------------------------------------------------------------------------------
def test_a_good_pass() -> None:
    after = "%x = input : u2[3] in [0, 3]\n%0 = mul_clear %x, c=2\nreturn %0"
    before = after.replace("return %0", "%1 = mul_clear %x, c=2\n%2 = neg %x\nreturn %1")
    module = check_pass(before, "cse,dce", after)
    assert len(list(module.main.ops)) == 3
    assert str(check_pass(parse_module(TEXT), "clean")) == str(parse_module(TEXT))
    check_pass(TEXT, Grow(), idempotent=False)
    check_pass(TEXT, "partition")  # which cannot follow itself


def test_another_result_is_shown() -> None:
    with pytest.raises(AssertionError, match=r"`cse` makes another text(?s:.*)\n-%0 = neg"):
        check_pass(TEXT, "cse", "%x = input : u2[3] in [0, 3]\n%0 = neg %x\nreturn %0")


def test_a_pass_that_does_not_come_to_rest() -> None:
    with pytest.raises(AssertionError, match="`grow` changes its own result"):
        check_pass(TEXT, Grow())


def test_a_broken_contract() -> None:
    with pytest.raises(Error, match=r"P010.*promises to be exact"):
        check_pass(TEXT, GrowExactly(), idempotent=False)
    check_pass(TEXT, GrowExactly(c=0), idempotent=False)


# --- graphs -------------------------------------------------------------------------------------
@pytest.fixture
def make_op() -> Iterator[None]:
    """Operations declared in a test vanish behind it."""
    before = dict(OPS)
    yield
    OPS.clear()
    OPS.update(before)


class Half(Op):
    """x >> 1, in many wrong ways."""

    x: Value

    def infer(self) -> Int:
        x = self.x.int_type
        return Int.of(x.shape, x.lo >> 1, x.hi >> 1)

    def eval(self, x: Array) -> Array:
        return x >> 1


class WrongRange(Half):
    """Of another range."""

    def infer(self) -> Int:
        return Int.of(self.x.shape, 0, 0)


class WrongShape(Half):
    """Of another shape."""

    def eval(self, x: Array) -> Array:
        return x[:, :1] >> 1


class WrongType(Half):
    """No integers."""

    def eval(self, x: Array) -> Array:
        return x / 2


class WrongSamples(Half):
    """Samples mixed."""

    def eval(self, x: Array) -> Array:
        return (x >> 1) + np.arange(len(x)).reshape(-1, 1) // 10 * 0 + (x[:1] * 0 + x.max()) % 2


class WrongDecomposition(Half):
    """A table off by one."""

    def decompose(self) -> Value:
        return Lookup(self.x, 0, np.array([0, 1, 1, 2])).result


@pytest.mark.usefixtures("make_op")
@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (Half, None),
        (WrongRange, "gives 1"),
        (WrongShape, "has shape"),
        (WrongType, "is float64, not int64"),
        (WrongSamples, "gives 2|samples are mixed"),
        (WrongDecomposition, "the decomposition differs"),
    ],
)
def test_operations(kind: type[Op], why: str | None) -> None:
    op("half")(kind)
    text = "%x = input : u2[3] in [0, 3]\n%0 = half %x\nreturn %0"
    if why is None:
        check_graph(text)
        check_graph(text, [np.array([[0, 1, 3]])])
        return
    with pytest.raises(AssertionError, match=why):
        check_graph(text)


def test_graphs_without_inputs() -> None:
    check_graph("%0 = int_constant value=[1, 2]\nreturn %0")


# --- backends -----------------------------------------------------------------------------------
WRONG = """
from lutra.backends.base import Limits
from lutra.backends import numpy as right
name, limits = "wrong", Limits()
class Executable:
    def __init__(self, inner, by):
        self.inner, self.by = inner, by
    def run(self, *inputs):
        return tuple(array + self.by for array in self.inner.run(*inputs))
def emit(circuit, by=0):
    return Executable(right.emit(circuit), by)
"""


def test_a_wrong_backend_is_named(install: Install) -> None:
    install("acme", {"lutra.backends": "wrong = acme"}, WRONG)
    check_backends(TEXT, backends=["numpy", "wrong"])
    with pytest.raises(AssertionError, match="backend 'wrong' differs at 'output_0': %1 = add"):
        check_backends(TEXT, backends=["numpy", "wrong"], options={"wrong": {"by": 1}})


def test_samples_outside_of_an_assumption_are_left_out() -> None:
    text = """
    %x = input : u3[2] in [0, 7]
    %0 = assume %x, lo=0, hi=3
    %1 = lookup %0, base=0, table=[1, 2, 3, 4]
    return %1
    """
    check_backends(text, count=64)
    check_graph(text)


def test_partitioned_modules() -> None:
    module = check_pass(
        """
        %x = input : float32[1x2]
        %0 = quantize %x, scale=0.5, zero_point=0, lo=0, hi=3
        %1 = mul_clear %0, c=3
        %2 = dequantize %1, scale=1.0, zero_point=0, offset=0.0
        return %2
        """,
        "partition,legalize",
    )
    check_backends(module)


def test_hypothesis_is_imported_for_random_graphs_only() -> None:
    program = "import sys, lutra.testing as t; t.check_pass; assert 'hypothesis' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
