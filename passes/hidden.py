"""Functions of elements that stand between linear operations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lutra.ir.core import Graph, Op, Value
from lutra.ir.ops import Onnx, constant_of
from lutra.ir.traits import Trait, trait
from lutra.passes.flow import Flow, affine_constant, encrypted_operands, is_constant


@dataclass(frozen=True)
class Hidden:
    """after = f(before), element by element, where before = linear(x) and readers = linear(after).

    ops: those of f, in order. Constants may be added and elements moved on both sides.
    """

    x: Value
    before: Value
    ops: tuple[Op, ...]
    after: Value
    readers: tuple[Value, ...]


def hidden(graph: Graph, flow: Flow) -> Iterator[Hidden]:
    """All such functions of a canonicalized graph, in the order of what they read."""
    regions: dict[Value, list[Value]] = {}
    for value, sources in flow.sources.items():
        if len(sources) == 1 and value not in sources and not is_constant(value):
            (before,) = sources
            regions.setdefault(before, []).append(value)
    for before, inside in regions.items():
        found = _hidden(before, inside, flow)
        if found is not None:
            yield found


def _hidden(before: Value, inside: list[Value], flow: Flow) -> Hidden | None:
    ops = tuple(dict.fromkeys(value.owner for value in inside))
    ends = [value for value in inside if any(user not in ops for user in value.users)]
    x = _linear_source(before, flow)
    if x is None or len(ends) != 1 or not all(map(_can_be_thinned, ops)):
        return None
    readers = _linear_readers(ends[0], flow)
    if not readers or not all(value.owner in flow.demanded for value in readers):
        return None
    return Hidden(x, before, ops, ends[0], tuple(readers))


def _can_be_thinned(op: Op) -> bool:
    """Whether an operation of a function can be made for some of the elements."""
    known = all(constant_of(v) is not None for v in op.operands if is_constant(v))
    return isinstance(op, Onnx) and len(op.results) == 1 and known


def _linear_source(value: Value, flow: Flow) -> Value | None:
    """What the linear operation reads of which elements were moved to make `value`."""
    while not flow.is_linear(value.owner):
        affine = affine_constant(value.owner)
        if affine is not None:
            value = affine[0]
        elif _moves(value.owner):
            (value,) = encrypted_operands(value.owner)
        else:
            return None
    operands = encrypted_operands(value.owner)
    return operands[0] if len(operands) == 1 else None


def _linear_readers(value: Value, flow: Flow) -> list[Value]:
    """The linear results that read a value, moved; none where something else reads it, too."""
    found: list[Value] = []
    for user in value.users:
        if len(encrypted_operands(user)) != 1:
            return []
        if flow.is_linear(user):
            found.append(user.results[0])
        elif _moves(user) and len(user.results) == 1:
            behind = _linear_readers(user.results[0], flow)
            if not behind:
                return []
            found += behind
        else:
            return []
    return found


def _moves(op: Op) -> bool:
    structural = isinstance(op, Onnx) and trait(op) is Trait.STRUCTURAL
    return structural and len(encrypted_operands(op)) == 1
