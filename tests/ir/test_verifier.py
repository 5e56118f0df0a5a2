"""The verifier finds what a pass could break."""

import re
from collections.abc import Callable

import numpy as np
import pytest

from lutra.ir.core import Graph, Module, Op, Secrecy
from lutra.ir.errors import VerifyError
from lutra.ir.ops import AddClear, Neg, Onnx, Round
from lutra.ir.parser import parse_graph
from lutra.ir.types import Int, Tensor
from lutra.ir.verifier import verify, verify_graph

TEXT = """
%x = input : u4[2] in [0, 15]
%y = input : float32[2]
%0 = neg %x  loc "/a"
%1 = add_clear %0, c=1  loc "/b"
%2 = round %1, lsbs=2
%3 = onnx.Relu %y : float32[2]
return %2, %3
"""


def at(graph: Graph, kind: type[Op]) -> Op:
    return next(graph.of(kind))


def use_before_definition(graph: Graph) -> None:
    neg, add = at(graph, Neg), at(graph, AddClear)
    graph._unlink(neg)
    graph._link(neg, add._next)


def lost_user(graph: Graph) -> None:
    at(graph, Neg).result._users.clear()


def stale_user(graph: Graph) -> None:
    at(graph, AddClear).result._users[graph.terminator] = None


def erased_user(graph: Graph) -> None:
    twin = at(graph, Neg).copy({})
    at(graph, AddClear).result._users[twin] = None


def bad_attribute(graph: Graph) -> None:
    at(graph, Round).lsbs = 0  # type: ignore[attr-defined]


def stale_type(graph: Graph) -> None:
    at(graph, Neg).result.type = Int.of((2,), -15, 1)


def other_term(graph: Graph) -> None:
    at(graph, AddClear).c = np.array(2)  # type: ignore[attr-defined]


def said_to_be_clear(graph: Graph) -> None:
    at(graph, Onnx).result.secrecy = Secrecy.CLEAR


def wrong_onnx_type(graph: Graph) -> None:
    node = at(graph, Onnx)
    node.types = (Tensor((3,)),)  # type: ignore[attr-defined]
    node.result.type = Tensor((3,))


def two_returns(graph: Graph) -> None:
    graph._link(graph.terminator.copy({}), None)


def no_return(graph: Graph) -> None:
    graph._unlink(graph.terminator)


def twin_inputs(graph: Graph) -> None:
    graph.inputs[1].name = "x"


@pytest.mark.parametrize(
    ("damage", "code", "message"),
    [
        (use_before_definition, "V002", "add_clear .* an operand is not defined above"),
        (lost_user, "V002", "add_clear .* an operand does not know of its user"),
        (stale_user, "V002", "add_clear .* a user is listed that does not read the result"),
        (erased_user, "V002", "add_clear .* a user is listed that does not read the result"),
        (bad_attribute, "V001", "round .* lsbs=0 is not within 1 to 61"),
        (stale_type, "V001", r"neg .* the type is i5.2. in .-15, 1., derived is .* in .-15, 0."),
        (other_term, "V001", r"add_clear .* in .-14, 1., derived is .* in .-13, 2."),
        (said_to_be_clear, "V001", "onnx .* the result is clear, derived is encrypted"),
        (wrong_onnx_type, "V001", r"onnx .* the type of Relu is float32.2., not float32.3."),
        (two_returns, "V001", "return .* `return` is not the last operation"),
        (no_return, "V001", "graph 'main' does not end with `return`"),
        (twin_inputs, "V001", "input .* another input is named 'x'"),
    ],
)  # fmt: skip
def test_damage_is_found(damage: Callable[[Graph], None], code: str, message: str) -> None:
    graph = parse_graph(TEXT)
    verify_graph(graph)
    damage(graph)
    with pytest.raises(VerifyError) as error:
        verify(Module([graph]))
    assert error.value.code == code
    assert re.search(message, error.value.message)


def test_the_error_shows_the_operation_below_its_operands() -> None:
    graph = parse_graph(TEXT)
    bad_attribute(graph)
    with pytest.raises(VerifyError) as error:
        verify_graph(graph)
    assert str(error.value) == (
        "error[V001]: round in graph 'main': lsbs=0 is not within 1 to 61\n"
        '   | %1 = add_clear %0, c=1 : i5[2] in [-14, 1]  loc "/b"\n'
        "   | %2 = round %1, lsbs=0, exact=false : i3[2] in [-3, 0]\n"
        "   | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^"
    )


def test_nodes_are_named() -> None:
    graph = parse_graph(TEXT)
    stale_type(graph)
    with pytest.raises(VerifyError) as error:
        verify_graph(graph)
    assert error.value.nodes == ("/a",)
