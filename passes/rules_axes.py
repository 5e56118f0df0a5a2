"""Canonicalization rules of the float level: linear operators that mix elements along single axes.

Each is a matrix along an axis: what onnxruntime makes of the unit vectors there.
"""

from __future__ import annotations

import numpy as np

from lutra.ir.core import Value
from lutra.ir.ops import Onnx, constant_of
from lutra.ir.rewriter import Rewriter
from lutra.ir.traits import looks_outside
from lutra.ir.types import Array
from lutra.passes.affine import folded
from lutra.passes.client import is_encrypted
from lutra.passes.rules import Outcome, no, on
from lutra.passes.rules_linear import constant, node


@on("CumSum")
def cumulative_sum_to_matmul(op: Onnx, rw: Rewriter) -> Outcome:
    """CumSum(x) -> MatMul(x, zeros and ones), along its axis"""
    axis = constant_of(op.input(1))
    if axis is None or not is_encrypted(op):
        return no("the client computes it, or its axis is not constant")
    x = op.operands[0]
    along = int(axis.reshape(())) % len(x.shape)
    unit = constant(np.eye(x.shape[along]), np.float32)
    sums = Onnx.make("CumSum", (unit, constant(1, np.int64)), **op.attrs)
    rw.replace(op, _along(x, along, folded(sums)[0]))
    return None


@on("Resize")
def resize_to_matmul(op: Onnx, rw: Rewriter) -> Outcome:
    """Resize(x) -> MatMul(x, weights of linear or cubic interpolation), axis by axis"""
    mode = op.attrs.get("mode", "nearest")
    if mode == "nearest" or not is_encrypted(op):
        return no("it moves elements, or the client computes it")
    if looks_outside(op):
        return no("it may take in values from outside")
    if op.attrs.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        return no("its axes depend on each other")
    x = op.operands[0]
    if constant_of(op.input(2)) is None and constant_of(op.input(3)) is None:
        return no("its scales are not constant")
    for axis, size in enumerate(op.result.shape):
        matrix = _interpolation(op, axis, x.shape[axis], size)
        if matrix is not None:
            x = _along(x, axis, matrix)
    rw.replace(op, x)
    return None


def _interpolation(op: Onnx, axis: int, before: int, after: int) -> Array | None:
    """What a Resize multiplies each line along an axis by; None where that is nothing."""
    rank = len(op.result.shape)
    axes = [a % rank for a in op.attrs.get("axes", range(rank))]
    scales = constant_of(op.input(2))
    if scales is None or not scales.size:
        if axis not in axes or before == after:
            return None
        target: list[Value | None] = [None, constant([1, 1, before, after], np.int64)]
    else:
        factor = float(scales[axes.index(axis)]) if axis in axes else 1.0
        if factor == 1:
            return None
        target = [constant([1, 1, 1, factor], np.float32), None]
    unit = constant(np.eye(before)[None, None], np.float32)
    attrs = {k: v for k, v in op.attrs.items() if k not in ("axes", "keep_aspect_ratio_policy")}
    (found,) = folded(Onnx.make("Resize", (unit, _window(op, axes, axis), *target), **attrs))
    return np.asarray(found[0, 0])


def _window(op: Onnx, axes: list[int], axis: int) -> Value | None:
    """The part of an axis that a Resize looks at, as it is written for the last of four axes."""
    window = constant_of(op.input(1))
    if window is None or not window.size or axis not in axes:
        return None
    start, end = window.reshape(2, -1)[:, axes.index(axis)]
    return constant([0, 0, 0, start, 1, 1, 1, end], np.float32)


def _along(x: Value, axis: int, matrix: Array) -> Value:
    """Each line of x along an axis times a matrix."""
    last = len(x.shape) - 1
    weights = constant(matrix, np.float32)
    if axis == last:
        return node("MatMul", x, weights)
    perm = [*(a for a in range(last + 1) if a != axis), axis]
    product = node("MatMul", node("Transpose", x, perm=perm), weights)
    return node("Transpose", product, perm=[perm.index(a) for a in range(last + 1)])


AXIS_RULES = (cumulative_sum_to_matmul, resize_to_matmul)
