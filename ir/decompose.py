"""Operations in terms of others: how what only its author knows reaches every backend."""

from __future__ import annotations

from collections.abc import Iterator

from lutra.ir.core import Graph, Op, Value
from lutra.ir.errors import VerifyError
from lutra.ir.ops import Assume
from lutra.ir.rewriter import Rewriter
from lutra.ir.types import Int

MAX_DEPTH = 32
"""Decompositions of decompositions."""


def decompose(graph: Graph, rewriter: Rewriter) -> None:
    """Replace every operation that has a decomposition by it, until none is left that has one.

    A result keeps the range that its operation derives for it: where the decomposition's own is
    wider, an `assume` narrows it. Error V001 where a decomposition has other results than its
    operation, or does not come to an end.
    """
    for _ in range(MAX_DEPTH):
        done = [op for op in list(graph.ops) if _decomposes(op) and _replace(op, rewriter)]
        if not done:
            return
    raise VerifyError(
        "V001",
        f"{done[0].opname} decomposes into operations that decompose again, without end",
        nodes=done[0].loc,
    )


def _replace(op: Op, rewriter: Rewriter) -> bool:
    values = _results(op)
    if values:
        rewriter.replace(op, [_narrow(*pair) for pair in zip(values, op.results, strict=True)])
    return bool(values)


def decomposed(graph: Graph) -> Graph:
    """A copy without operations that have a decomposition; the graph itself if it has none."""
    if not any(map(_decomposes, graph.ops)):
        return graph
    twin = graph.clone()
    decompose(twin, Rewriter(twin))
    return twin


def parts(op: Op) -> Iterator[Op]:
    """The detached operations that an operation decomposes into, in topological order."""
    if not _decomposes(op):
        return
    seen: set[Op] = set()

    def visit(part: Op) -> Iterator[Op]:
        if part.graph is None and part not in seen:
            seen.add(part)
            for value in part.operands:
                yield from visit(value.owner)
            yield part

    for value in _results(op):
        yield from visit(value.owner)


def _results(op: Op) -> tuple[Value, ...]:
    """The values that stand for the results of an operation; none if it does not decompose."""
    found = op.decompose()
    if found is None:
        return ()
    values = found if isinstance(found, tuple) else (found,)
    old, new = ([_without_range(v) for v in vs] for vs in (op.results, values))
    if old != new:
        raise VerifyError(
            "V001",
            f"{op.opname} decomposes into {', '.join(new)}, not {', '.join(old)}",
            nodes=op.loc,
            lines=[repr(op)],
        )
    return values


def _without_range(value: Value) -> str:
    return f"integers {value.shape}" if isinstance(value.type, Int) else str(value.type)


def _narrow(new: Value, old: Value) -> Value:
    """`new`, narrowed to the range of `old` where its own is wider."""
    if isinstance(old.type, Int):
        type = new.int_type
        if (type.lo < old.type.lo).any() or (type.hi > old.type.hi).any():
            return Assume(new, old.type.lo, old.type.hi).result
    return new


def _decomposes(op: Op) -> bool:
    return type(op).decompose is not Op.decompose
