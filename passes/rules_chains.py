"""Canonicalization of chains of functions and movements: all movements come first.

A chain is moved at once, from its last operation. One step at a time, k movements behind k
functions would take k² steps, and make k² operations on the way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from lutra.ir.core import Value
from lutra.ir.ops import Onnx, constant_of
from lutra.ir.rewriter import Rewriter
from lutra.ir.traits import Trait, trait
from lutra.ir.types import Ints, Shape
from lutra.passes.flow import encrypted_operands
from lutra.passes.lower_movement import RESHAPES, index_maps
from lutra.passes.rules import Outcome, no
from lutra.passes.rules_linear import constant


def movement_before_elementwise(op: Onnx, rw: Rewriter) -> Outcome:
    """move(f(x, c)) -> f(move(x), move(c)), if it drops elements or f meets another function so"""
    if not (is_function(op) or _is_movement(op)):
        return no("neither a movement of one value nor a function that keeps its shape")
    if _is_followed(op):
        return no("it moves together with what follows")
    chain = _part_to_order([*_chain_up_to(op)][::-1])
    if not chain:
        return no("no movement stands behind a function that should stand behind it")
    _order(chain, rw)
    return None


def is_function(op: Onnx) -> bool:
    """Whether it is elementwise, reads no value that it broadcasts, and all constants are known."""
    return (
        trait(op) is Trait.ELEMENTWISE
        and len(op.results) == 1
        and not op.result.constant
        and all(
            constant_of(value) is not None if value.constant else value.shape == op.result.shape
            for value in op.operands
        )
    )


def _is_movement(op: Onnx) -> bool:
    """Whether it moves elements of one encrypted value and adds none."""
    if trait(op) is not Trait.STRUCTURAL or op.op_type in ("Concat", "Pad") or len(op.results) > 1:
        return False
    source = op.inputs[0]
    return (
        source is not None and encrypted_operands(op) == [source] and op.result.size <= source.size
    )


def _source(op: Onnx) -> Value | None:
    """The one value that an operation of a chain reads; None where it joins several."""
    first, *others = encrypted_operands(op)
    return first if all(value is first for value in others) else None


def _is_followed(op: Onnx) -> bool:
    """Whether a chain that comes to this operation goes on behind it."""
    if not op.result.used_once:
        return False
    (user,) = op.result.users
    return (
        isinstance(user, Onnx)
        and (is_function(user) or _is_movement(user))
        and _source(user) is op.result
    )


def _chain_up_to(op: Onnx) -> Iterator[Onnx]:
    """The operations of a chain from its last one, `op`, to the first."""
    while True:
        yield op
        source = _source(op)
        if source is None or not source.used_once or not isinstance(source.owner, Onnx):
            return
        op = source.owner
        if len(op.results) > 1 or not (is_function(op) or _is_movement(op)):
            return


def _part_to_order(chain: Sequence[Onnx]) -> Sequence[Onnx]:
    """From the first function to the last movement that is to stand before it."""
    functions = [i for i, op in enumerate(chain) if is_function(op)]
    if not functions:
        return ()
    first, last, end = functions[0], functions[-1], len(chain)
    if not _leads_to_elementwise(chain[-1].result):
        # Behind the last function, only what drops elements moves, and what stands before that.
        drops = [i for i in range(last + 1, end) if _drops(chain[i])]
        end = drops[-1] + 1 if drops else last
    while end > first and is_function(chain[end - 1]):
        end -= 1
    return chain[first:end]


def _drops(op: Onnx) -> bool:
    return _is_movement(op) and any(op.result.size < v.size for v in encrypted_operands(op))


def _order(chain: Sequence[Onnx], rw: Rewriter) -> None:
    """Put all movements of a chain, which starts with a function, before all functions."""
    last = chain[-1]
    moves = [op for op in chain if _is_movement(op)]
    places = _places(chain)
    made: dict[Value, Value] = {}
    for value in encrypted_operands(chain[0]):
        made[value] = value
        for move in moves:
            made[value] = _insert(move, [made[value], *move.inputs[1:]], last, rw)
    for op in chain:
        if is_function(op):
            shape = last.result.shape
            reads = [
                made[value] if value in made else _constant(value, op, places, shape)
                for value in op.inputs
            ]
            made = {op.result: _insert(op, reads, last, rw)}
        else:
            (result,) = made.values()  # what it moves has been moved already
            made = {op.result: result}
    rw.replace_uses(last.result, made[last.result])
    for op in reversed(chain):
        rw.erase(op)


def _insert(op: Onnx, inputs: Sequence[Value | None], before: Onnx, rw: Rewriter) -> Value:
    """The result of the same node on other inputs."""
    twin = Onnx.make(op.op_type, inputs, **op.attrs)
    return rw.insert(twin, before=before, loc=op.loc).result


def _places(chain: Sequence[Onnx]) -> dict[Onnx, Ints]:
    """For each function, which element of its result each element of the chain's result is.

    Both are counted flat. From the end on, so that every movement is looked at once.
    """
    places: dict[Onnx, Ints] = {}
    index = np.arange(chain[-1].result.size)
    for op in reversed(chain):
        if not is_function(op):
            if op.op_type not in RESHAPES:
                index = _moved_from(op).reshape(-1)[index]
        elif any(value.constant and value.size > 1 for value in op.operands):
            places[op] = index
    return places


def _moved_from(move: Onnx) -> Ints:
    source = encrypted_operands(move)[0]
    if move.op_type == "Transpose":
        index = np.arange(source.size).reshape(source.shape)
        return index.transpose(move.attrs.get("perm"))
    return index_maps(move, source.shape)[0]


def _constant(
    value: Value | None, op: Onnx, places: Mapping[Onnx, Ints], shape: Shape
) -> Value | None:
    """A constant that a function reads, its elements moved as those of the function's result."""
    array = constant_of(value)
    if array is None:
        return None
    if array.size == 1:
        return constant(array.reshape(()))
    return constant(np.broadcast_to(array, op.result.shape).reshape(-1)[places[op]].reshape(shape))


def _leads_to_elementwise(value: Value) -> bool:
    """Whether structural operators lead from a value to a function of it alone."""
    stack, seen = [value], {value}
    while stack:
        for user in stack.pop().users:
            kind = trait(user) if isinstance(user, Onnx) else Trait.OPAQUE
            if kind is Trait.ELEMENTWISE and len(set(encrypted_operands(user))) == 1:
                return True
            if kind is Trait.STRUCTURAL:
                stack += [result for result in user.results if result not in seen]
                seen.update(user.results)
    return False
