"""Canonicalization rules of the float level: places of maxima, products, and overlapping sums.

Where encrypted values go through them, they become maxima, comparisons, sums and products of two.
The client's own stay as they are. Weights that say where something is are factors here, not layers,
of which passes would round and fit the weights.
"""

from __future__ import annotations

from math import prod

import numpy as np

from lutra.ir.core import Value
from lutra.ir.ops import Onnx, constant_of
from lutra.ir.ort import element_type
from lutra.ir.rewriter import Rewriter
from lutra.ir.types import Tensor
from lutra.passes.client import is_encrypted
from lutra.passes.rules import Outcome, no, on
from lutra.passes.rules_linear import constant, node, reshaped

AT_CLIENT = "the client computes it"
NO_FLOATS = "it reads no floats"


@on("Hardmax")
def hardmax_to_steps(op: Onnx, rw: Rewriter) -> Outcome:
    """Hardmax(x) -> e - (sum of e before) > 0.5, where e = (x - max(x) >= 0)"""
    if not is_encrypted(op):
        return no(AT_CLIENT)
    (x,) = op.operands
    if x.type != Tensor(x.shape):
        return no(NO_FLOATS)
    axis = op.attrs.get("axis", -1) % len(x.shape)
    rw.replace(op, _to_last(_hot(_to_last(x, axis)), axis))
    return None


@on("ArgMax", "ArgMin")
def place_of_maximum(op: Onnx, rw: Rewriter) -> Outcome:
    """ArgMax(x) -> sum(Hardmax(x) * places), ArgMin(x) -> ArgMax(-x)"""
    if not is_encrypted(op):
        return no(AT_CLIENT)
    (x,) = op.operands
    if x.type != Tensor(x.shape):
        return no(NO_FLOATS)
    axis = op.attrs.get("axis", 0) % len(x.shape)
    value = _to_last(x, axis)
    if op.op_type == "ArgMin":
        value = node("Mul", value, constant(-1, np.float32))
    hot = _hot(value, last=bool(op.attrs.get("select_last_index", 0)))
    places = node("Mul", hot, constant(np.arange(x.shape[axis]), np.float32))
    found = node("ReduceSum", places, constant([-1], np.int64), keepdims=1)
    found = node("Cast", _to_last(found, axis), to=element_type("int64"))
    rw.replace(op, reshaped(found, op.result.shape))
    return None


def _to_last(x: Value, axis: int) -> Value:
    """x with an axis and the last one exchanged."""
    last = len(x.shape) - 1
    if axis == last:
        return x
    perm = list(range(last + 1))
    perm[axis], perm[last] = last, axis
    return node("Transpose", x, perm=perm)


def _hot(x: Value, last: bool = False) -> Value:
    """1 at the first or last maximum along the last axis, 0 elsewhere."""
    most = node("ReduceMax", x, constant([-1], np.int64), keepdims=1)
    zero, half = constant(0, np.float32), constant(0.5, np.float32)
    difference = node("Sub", x, node("Expand", most, constant(x.shape, np.int64)))
    equal = node("Cast", node("GreaterOrEqual", difference, zero), to=element_type("float32"))
    size = x.shape[-1]
    before = np.tri(size, k=-1).T if last else np.tri(size, k=-1)
    row = reshaped(equal, (*x.shape[:-1], 1, size))
    rows = node("Expand", row, constant([*x.shape, size], np.int64))
    signs = constant(np.eye(size) - before, np.float32)
    alone = node("ReduceSum", node("Mul", rows, signs), constant([-1], np.int64), keepdims=0)
    return node("Cast", node("Greater", alone, half), to=element_type("float32"))


@on("ReduceProd")
def product_by_halves(op: Onnx, rw: Rewriter) -> Outcome:
    """ReduceProd(x) -> Mul(first half, second half), again and again: n - 1 products for n"""
    if not is_encrypted(op):
        return no(AT_CLIENT)
    x, axes = op.operands[0], constant_of(op.input(1))
    if x.type != Tensor(x.shape):
        return no(NO_FLOATS)
    if op.input(1) is not None and axes is None:
        return no("its axes are not constant")
    rank = len(x.shape)
    named = sorted({int(a) % rank for a in axes.reshape(-1)} if axes is not None else ())
    if not named and op.attrs.get("noop_with_empty_axes", 0):
        rw.replace(op, x)
        return None
    named = named or list(range(rank))
    kept = [axis for axis in range(rank) if axis not in named]
    value = node("Transpose", x, perm=[*kept, *named])
    value = reshaped(value, (prod(x.shape[a] for a in kept), prod(x.shape[a] for a in named)))
    while value.shape[1] > 1:
        half = value.shape[1] // 2
        product = node("Mul", _columns(value, 0, half), _columns(value, half, 2 * half))
        if value.shape[1] % 2:
            rest = _columns(value, 2 * half, 2 * half + 1)
            value = node("Concat", product, rest, axis=1)
        else:
            value = product
    rw.replace(op, reshaped(value, op.result.shape))
    return None


@on("TopK")
def largest_by_exchange(op: Onnx, rw: Rewriter) -> Outcome:
    """TopK(x) -> k times, from the last to the first: the larger of two neighbours goes before

    n - 1 maxima for the first, and as many minima to go on with, which share their bootstraps.
    """
    if not is_encrypted(op):
        return no(AT_CLIENT)
    x, count = op.operands[0], constant_of(op.input(1))
    if x.type != Tensor(x.shape):
        return no(NO_FLOATS)
    if op.results[1].users or count is None:
        return no("its places are read, or how many there are is not constant")
    axis = op.attrs.get("axis", -1) % len(x.shape)
    kept, kinds = int(count.reshape(())), ("Max", "Min")
    if not op.attrs.get("largest", 1):
        kinds = ("Min", "Max")
    parts = [_part(x, axis, place) for place in range(x.shape[axis])]
    for first in range(kept):
        for place in range(len(parts) - 1, first, -1):
            pair = parts[place - 1 : place + 1]
            parts[place - 1] = node(kinds[0], *pair)
            if first < kept - 1:
                parts[place] = node(kinds[1], *pair)
    found = parts[0] if kept == 1 else node("Concat", *parts[:kept], axis=axis)
    rw.insert(found.owner, before=op, loc=op.loc)
    rw.replace_uses(op.results[0], found)
    return None


def _part(x: Value, axis: int, place: int) -> Value:
    return node("Slice", x, *(constant([n], np.int64) for n in (place, place + 1, axis)))


def _columns(x: Value, first: int, stop: int) -> Value:
    return node("Slice", x, *(constant([n], np.int64) for n in (first, stop, 1)))


@on("Col2Im")
def columns_to_conv_transpose(op: Onnx, rw: Rewriter) -> Outcome:
    """Col2Im(x) -> ConvTranspose(x as an image of blocks, a 1 for each place in a block)"""
    if not is_encrypted(op):
        return no(AT_CLIENT)
    x, image, block = op.operands
    sizes, kernel = constant_of(image), constant_of(block)
    if sizes is None or kernel is None:
        return no("its sizes are not constant")
    space = len(kernel)
    strides = list(op.attrs.get("strides", [1] * space))
    dilations = list(op.attrs.get("dilations", [1] * space))
    pads = list(op.attrs.get("pads", [0] * 2 * space))
    reach = [int(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    whole = [int(n) + pads[i] + pads[i + space] for i, n in enumerate(sizes)]
    counts = [(n - r) // s + 1 for n, r, s in zip(whole, reach, strides, strict=True)]
    extra = [(n - r) % s for n, r, s in zip(whole, reach, strides, strict=True)]
    samples, depth = x.shape[:2]
    taps = int(np.prod(kernel))
    weights = np.tile(np.eye(taps), (depth // taps, 1)).reshape(depth, 1, *map(int, kernel))
    blocks = reshaped(x, (samples, depth, *counts))
    summed = node(
        "ConvTranspose",
        blocks,
        constant(weights, np.float32),
        group=depth // taps,
        strides=strides,
        dilations=dilations,
        pads=pads,
        output_padding=extra,
    )
    rw.replace(op, summed)
    return None


CHOICE_RULES = (
    hardmax_to_steps,
    place_of_maximum,
    product_by_halves,
    largest_by_exchange,
    columns_to_conv_transpose,
)
