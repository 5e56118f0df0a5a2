"""Canonicalization rules of the quantized level: clear integers, and where values are quantized."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from lutra.ir.core import Value
from lutra.ir.ops import Constant, Dequantize, IntConstant, Movement, Onnx, Quantize, constant_of
from lutra.ir.rewriter import Rewriter
from lutra.ir.rounding import ROUNDINGS
from lutra.ir.traits import WEIGHTED, Trait, trait
from lutra.ir.types import Array
from lutra.passes.affine import clear_integers, clear_value, varies
from lutra.passes.client import at_client
from lutra.passes.flow import affine_constant, encrypted_operands
from lutra.passes.fold_constants import computed
from lutra.passes.lower_movement import moved
from lutra.passes.rules import Outcome, no, on
from lutra.passes.rules_linear import constant, node


def quantize_constant(op: Quantize, rw: Rewriter) -> Outcome:
    """quantize(constant) -> int_constant, also of what is computed from clear integers"""
    array = computed(op.x, rw.graph)
    if array is None:
        return no("its operand is no constant")
    rw.replace(op, IntConstant(op.eval(array[None])[0]))
    return None


def move_clear_integers(op: Onnx, rw: Rewriter) -> Outcome:
    """move(dequantize(c)) -> dequantize(move(c)), for clear integers c: weights stay integers"""
    source = clear_integers(op.input(0))
    if source is None or trait(op) is not Trait.STRUCTURAL or op.op_type in ("Concat", "Pad"):
        return no("no movement of clear integers")
    if any(constant_of(value) is None for value in op.operands[1:]):
        return no("how it moves them is not constant")
    results = []
    for result in moved(op, source):
        move, integers = result.q.owner, source.q.owner
        assert isinstance(move, Movement)
        assert isinstance(integers, IntConstant)
        clear = IntConstant(move.move(integers.value)).result
        results.append(Dequantize(clear, result.scale, result.zero_point, result.offset).result)
    rw.replace(op, results)
    return None


@on("Mul", "Div")
def factor_into_clear_integers(op: Onnx, rw: Rewriter) -> Outcome:
    """dequantize(c) * k -> dequantize(c), scale and offset times k, for clear integers c"""
    affine = affine_constant(op)
    x = clear_integers(affine[0]) if affine else None
    if affine is None or x is None:
        return no("no clear integers times a constant")
    k = affine[1].astype(np.float64)
    if not k.all():
        return no("the factor is 0")
    k = k if op.op_type == "Mul" else 1 / k
    rw.replace(op, Dequantize(x.q, x.scale * k, x.zero_point, x.offset * k))
    return None


def clear_integers_to_floats(op: Onnx, rw: Rewriter) -> Outcome:
    """f(x, dequantize(c)) -> f(x, constant), for clear integers c that are no layer's weights"""
    if op.op_type in WEIGHTED and not op.domain:
        return no("a layer takes them as its weights")
    found = [value for value in op.operands if clear_integers(value)]
    if not found:
        return no("it reads no clear integers")
    for value in dict.fromkeys(found):
        floats = rw.insert(Constant(_array(value)), before=op, loc=value.owner.loc)
        rw.replace_uses(value, floats.result, only=[op])
    return None


def _array(value: Value) -> Array:
    array = clear_value(value)
    assert array is not None
    return array


def quantize_before_movement(op: Dequantize, rw: Rewriter) -> Outcome:
    """dequantize(quantize(move(x))) -> move(dequantize(quantize(x))), on one grid

    What moves elements, or takes maxima, then does so on integers, and the look-up that quantizes
    stands right behind the layer that it belongs to.
    """
    quantize = op.q.owner
    move = quantize.x.owner if isinstance(quantize, Quantize) else None
    if not isinstance(quantize, Quantize) or not isinstance(move, Onnx):
        return no("no float operator's result is quantized here")
    if trait(move) not in (Trait.STRUCTURAL, Trait.ORDER) or len(move.results) > 1:
        return no("it does not move the elements of one value")
    sources = encrypted_operands(move)
    if not _moves_only(move, sources):
        return no("how it moves them is not constant")
    arrays = (quantize.scale, quantize.zero_point, op.scale, op.zero_point, op.offset)
    rank = len(op.result.shape)
    mixed = range(2 if trait(move) is Trait.ORDER else 0, rank)
    if any(varies(array, rank, mixed) for array in arrays):
        return no("elements are quantized differently")
    if all(map(at_client, sources)):
        return no("the client does it before encryption")
    read = sum(source.size for source in sources)
    if trait(move) is Trait.STRUCTURAL and move.results[0].size < read:
        return no("it drops elements, which then need no look-up")

    def on_grid(value: Value | None) -> Value | None:
        if value is None or value not in sources:
            return value
        integers = rw.insert(quantize.copy({quantize.x: value}), before=op)
        return rw.insert(op.copy({op.q: integers.result}), before=op).result

    inputs = [on_grid(value) for value in move.inputs]
    if move.op_type == "Pad" and move.attrs.get("mode", "constant") == "constant":
        fill = constant_of(move.input(2))
        value = np.zeros((1,), np.float32) if fill is None else fill.reshape(1)
        padded = op.eval(quantize.eval(value)).reshape(())
        inputs = [*inputs, None, None][:2] + [constant(padded, np.float32)] + inputs[3:]
    new = rw.insert(node(move.op_type, *inputs, **move.attrs).owner, before=op, loc=move.loc)
    rw.replace_uses(op.result, new.results[0])
    return None


def quantize_once(op: Quantize, rw: Rewriter) -> Outcome:
    """quantize(f(dequantize(quantize(x)))) -> quantize(f(g(x))), g the same by float operators

    One look-up where there would be two.
    """
    value = op.x
    while value.used_once and isinstance(value.owner, Onnx):
        operands = encrypted_operands(value.owner)
        if trait(value.owner) is not Trait.ELEMENTWISE or len(operands) != 1:
            return no("what it quantizes is no function of single elements")
        (value,) = operands
    inner = value.owner
    quantize = inner.q.owner if isinstance(inner, Dequantize) else None
    if not isinstance(inner, Dequantize) or not isinstance(quantize, Quantize):
        return no("what it quantizes was not quantized before")
    if not (value.used_once and quantize.result.used_once):
        return no("what was quantized before has other users")
    floats = rw.insert(as_floats(quantize, inner).owner, before=inner, loc=quantize.loc)
    rw.replace_uses(value, floats.results[0])
    return None


def as_floats(quantize: Quantize, dequantize: Dequantize) -> Value:
    """What a value becomes by quantization and back, by float operators, detached."""
    mode = ROUNDINGS[quantize.rounding]
    x = node("Div", quantize.x, constant(quantize.scale))
    steps = node("Abs", x) if mode.symmetric else x
    steps = node(mode.function, _plus(steps, np.float32(mode.shift)))
    if mode.symmetric:
        steps = node("Mul", node("Sign", x), steps)
    ends = (constant(end, np.float32) for end in (quantize.lo, quantize.hi))
    steps = node("Clip", _plus(steps, quantize.zero_point), *ends)
    scaled = node("Mul", _plus(steps, -dequantize.zero_point), constant(dequantize.scale))
    return _plus(scaled, dequantize.offset)


def _plus(x: Value, term: ArrayLike) -> Value:
    return node("Add", x, constant(term, np.float32)) if np.any(term) else x


def _moves_only(move: Onnx, sources: list[Value]) -> bool:
    """Whether a node reads encrypted values as what it moves, and constants beside them."""
    others = [value for value in move.operands if value not in sources]
    if move.op_type == "Concat":
        return not others
    return sources == [move.inputs[0]] and all(constant_of(v) is not None for v in others)


QUANTIZED_RULES = (
    quantize_constant,
    move_clear_integers,
    factor_into_clear_integers,
    clear_integers_to_floats,
    quantize_before_movement,
    quantize_once,
)
