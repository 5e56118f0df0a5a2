"""Canonicalization rules of the float level: layers that are added up, and parts of layers.

Layers cost nothing, so each sum that a look-up reads may have one of its own, whose weights are
fitted to it.
"""

from __future__ import annotations

import numpy as np

from lutra.ir.core import Value
from lutra.ir.ops import Onnx, constant_of
from lutra.ir.rewriter import Rewriter, merge
from lutra.ir.types import Array
from lutra.passes.flow import affine_constant, is_constant, is_onnx
from lutra.passes.lower_movement import index_maps
from lutra.passes.rules import Outcome, no, on
from lutra.passes.rules_linear import LINEAR_WITH_WEIGHTS, constant, node


def layer_and_term(value: Value) -> tuple[Onnx, Array, Array] | None:
    """(layer, w, b) of a value that is a layer's result with weights w, and b added to it.

    None for others, and where the layer has a bias of its own.
    """
    op, term = value.owner, np.zeros((), np.float32)
    affine = affine_constant(op) if is_onnx(op, "Add") else None
    if affine is not None:
        op, term = affine[0].owner, affine[1]
    if not isinstance(op, Onnx) or not is_onnx(op, *LINEAR_WITH_WEIGHTS) or op.input(2) is not None:
        return None
    weights = constant_of(op.inputs[1])
    return None if weights is None or is_constant(op.result) else (op, weights, term)


def layer_like(
    layer: Onnx,
    weights: Array,
    term: Array,
    reader: Onnx,
    rw: Rewriter,
    names: tuple[str, ...] = (),
) -> Value:
    """The result of a layer with other weights and another constant added, for one reader.

    It keeps the layer's name, by which options tell it, beside other `names`.
    """
    inputs = layer.inputs[0], constant(weights, np.float32)
    twin = Onnx.make(layer.op_type, inputs, **layer.attrs)
    result = rw.insert(twin, before=reader, loc=merge(layer.loc, names)).result
    return node("Add", result, constant(term, np.float32)) if np.any(term) else result


@on("Add", "Sub")
def sum_of_layers(op: Onnx, rw: Rewriter) -> Outcome:
    """(x @ w + b) + (x @ v + d) -> x @ (w + v) + (b + d), differences and convolutions alike"""
    first, second = map(layer_and_term, op.operands)
    if first is None or second is None or first[0].inputs[0] is not second[0].inputs[0]:
        return no("its operands are not layers that read one value")
    (layer, w, b), (other, v, d) = first, second
    if (layer.op_type, layer.attrs, layer.types) != (other.op_type, other.attrs, other.types):
        return no("its operands are layers of different kinds")
    if w.shape != v.shape:
        return no("their weights have different shapes")
    join = np.add if op.op_type == "Add" else np.subtract
    total = layer_like(layer, join(w, v), join(b, d), op, rw, other.loc)
    rw.replace(op, total)
    return None


@on("Split", "Slice", "Gather")
def parts_of_layer(op: Onnx, rw: Rewriter) -> Outcome:
    """Split(x @ w + b) -> x @ w[:, ...] + b[...], one layer for each part of the channels"""
    found = layer_and_term(op.operands[0])
    if found is None or any(constant_of(value) is None for value in op.operands[1:]):
        return no("it does not take a layer's result apart, or how is not constant")
    layer, weights, term = found
    shape, is_conv = layer.result.shape, layer.op_type == "Conv"
    if (weights.ndim != 2 and not is_conv) or layer.attrs.get("group", 1) != 1:
        return no("its weights are stacked, or in groups")
    axis = 1 if is_conv else len(shape) - 1
    index = np.arange(int(np.prod(shape))).reshape(shape)
    terms = np.broadcast_to(term, shape)
    made = []
    for part in index_maps(op, shape):
        if part.ndim != len(shape) or part.size == 0:
            return no("the axes do not stay")
        which = np.moveaxis(part, axis, -1).reshape(-1, part.shape[axis])[0] // _stride(shape, axis)
        if which.max() >= shape[axis] or not np.array_equal(part, index.take(which, axis)):
            return no("it does not take whole channels")
        taken = weights.take(which, 0 if is_conv else 1)
        made.append((taken, _compressed(terms.take(which, axis), axis)))
    rw.replace(op, [layer_like(layer, *part, op, rw) for part in made])
    return None


def _stride(shape: tuple[int, ...], axis: int) -> int:
    return int(np.prod(shape[axis + 1 :]))


def _compressed(term: Array, axis: int) -> Array:
    """A constant without the axes along which it does not vary, but for the channels'."""
    for other in range(term.ndim):
        first = term.take([0], other)
        if other != axis and (term == first).all():
            term = first
    return term


LAYER_RULES = (sum_of_layers, parts_of_layer)
