"""Canonicalization of functions behind movements that repeat elements: they come first.

What repeats elements costs nothing, but each copy that a function reads is looked up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import numpy as np

from lutra.ir.core import Value
from lutra.ir.ops import Onnx, constant_of
from lutra.ir.rewriter import Rewriter
from lutra.ir.traits import Trait, trait
from lutra.ir.types import Array, Ints, compress
from lutra.passes.flow import encrypted_operands
from lutra.passes.lower_movement import index_maps
from lutra.passes.rules import Outcome, no
from lutra.passes.rules_chains import is_function
from lutra.passes.rules_linear import constant, node


def function_before_expansion(op: Onnx, rw: Rewriter) -> Outcome:
    """f(repeat(x), c) -> repeat(f(x, c')), to where x has the fewest elements"""
    if not is_function(op):
        return no("not a function that keeps its shape")
    levels = list(_levels(list(dict.fromkeys(encrypted_operands(op)))))
    sizes = [prod(op.result.shape), *(prod(_source(moves[0]).shape) for moves in levels)]
    levels = levels[: sizes.index(min(sizes))]
    if not levels:
        return no("nothing before it has fewer elements")
    sources = [_source(move) for move in levels[-1]]
    shape = sources[0].shape
    index = np.arange(prod(shape)).reshape(shape)
    for moves in reversed(levels):
        index = index.reshape(-1)[index_maps(moves[0], index.shape)[0]]
    clear = {value: _before(value, index, sources[0]) for value in op.operands if value.constant}
    if any(value is None for value in clear.values()):
        return no("copies of one element meet different constants")
    moved = {move.result: source for move, source in zip(levels[0], sources, strict=True)}
    inputs = [None if value is None else {**clear, **moved}[value] for value in op.inputs]
    made = node(op.op_type, *inputs, **op.attrs)
    for move, *_ in reversed(levels):
        made = node(move.op_type, made, *move.inputs[1:], **move.attrs)
    rw.replace(op, made)
    return None


def _levels(values: Sequence[Value]) -> Iterator[list[Onnx]]:
    """Step by step upwards, the movements that have made all of the values alike."""
    while True:
        moves = [value.owner for value in values]
        first = moves[0]
        if not isinstance(first, Onnx) or not _is_movement(first):
            return
        alike = [move for move in moves if isinstance(move, Onnx) and _are_alike(move, first)]
        if len(alike) < len(moves):
            return
        yield alike
        values = [_source(move) for move in alike]


def _is_movement(op: Onnx) -> bool:
    """Whether it moves the elements of one encrypted value, how is constant, and adds no others."""
    return (
        trait(op) is Trait.STRUCTURAL
        and op.op_type not in ("Concat", "Pad")
        and len(op.results) == 1
        and encrypted_operands(op) == [op.inputs[0]]
        and all(constant_of(value) is not None for value in op.operands[1:])
    )


def _are_alike(move: Onnx, other: Onnx) -> bool:
    return move is other or (
        _is_movement(move)
        and (move.op_type, move.attrs, move.types) == (other.op_type, other.attrs, other.types)
        and _source(move).type == _source(other).type
        and all(map(_are_equal, move.operands[1:], other.operands[1:]))
    )


def _are_equal(value: Value, other: Value) -> bool:
    array, wanted = constant_of(value), constant_of(other)
    return array is not None and wanted is not None and np.array_equal(array, wanted)


def _source(move: Onnx) -> Value:
    (source,) = encrypted_operands(move)
    return source


def _before(value: Value, index: Ints, source: Value) -> Value | None:
    """A constant as the elements of `source` meet it, of which `index` are the copies' own."""
    array = constant_of(value)
    assert array is not None  # is_function says so
    if array.size == 1:
        return constant(array.reshape(()))
    there: Array = np.broadcast_to(array, index.shape)
    before = np.broadcast_to(array.reshape(-1)[0], source.shape).reshape(-1).copy()
    before[index] = there
    if not np.array_equal(before[index], there):
        return None
    return constant(compress(before.reshape(source.shape)))
