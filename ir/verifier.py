"""Checks that a graph is valid IR."""

from __future__ import annotations

from typing import NoReturn

from lutra.ir.core import Graph, Input, Module, Op, Return, Value
from lutra.ir.errors import VerifyError
from lutra.ir.text import Printer


def verify(module: Module) -> None:
    """Raise VerifyError (V001, V002) unless every graph is valid.

    Operands are defined above their users, use-lists are right, each operation's own checks hold,
    types and who knows what are as the operation derives them, inputs have names of their own, and
    the last operation, no other, is `return`.
    """
    for graph in module.graphs.values():
        verify_graph(graph)


def verify_graph(graph: Graph) -> None:
    """Raise VerifyError (V001, V002) unless the graph is valid."""
    defined: set[Value] = set()
    names: set[str] = set()
    reads = listed = 0
    for op in graph.ops:
        operands = op.operands
        for value in operands:
            if value not in defined:
                _fail("V002", graph, op, "an operand is not defined above")
            if op not in value._users:
                _fail("V002", graph, op, "an operand does not know of its user")
        problems = [*op.check()]
        if problems:
            _fail("V001", graph, op, "; ".join(problems))
        if isinstance(op, Return) and op is not graph._last:
            _fail("V001", graph, op, "`return` is not the last operation")
        if isinstance(op, Input):
            if op.name in names:
                _fail("V001", graph, op, f"another input is named {op.name!r}")
            names.add(op.name)
        _check_results(graph, op)
        defined.update(op.results)
        reads += len({*operands})
        listed += sum([len(value._users) for value in op.results])
    if listed != reads:
        _find_false_user(graph)
    graph.terminator  # noqa: B018  (raises where there is none)


def _check_results(graph: Graph, op: Op) -> None:
    types = op.result_types()
    if len(types) != len(op.results):
        _fail("V001", graph, op, f"{len(types)} results derived, {len(op.results)} present")
    secrecy = op.secrecy()
    for value, type in zip(op.results, types, strict=True):
        if value.type != type:
            _fail("V001", graph, op, f"the type is {value.type}, derived is {type}")
        if value.secrecy != secrecy:
            names = value.secrecy.name.lower(), secrecy.name.lower()
            _fail("V001", graph, op, f"the result is {names[0]}, derived is {names[1]}")


def _find_false_user(graph: Graph) -> None:
    """All operands know of their users; if more users are listed than there are, one is false."""
    for op in graph.ops:
        for value in op.results:
            if any(user.graph is not graph or value not in user.operands for user in value.users):
                _fail("V002", graph, op, "a user is listed that does not read the result")


def _fail(code: str, graph: Graph, op: Op, message: str) -> NoReturn:
    printer = Printer(limit=8)
    printer.graph(graph)
    producers = [printer.op(value.owner) for value in op.operands if value.owner.graph is graph]
    line = printer.op(op)
    raise VerifyError(
        code,
        f"{op.opname} in graph {graph.name!r}: {message}",
        nodes=op.loc,
        lines=[*producers, line, "^" * len(line.split("  loc ")[0])],
    )
