"""Canonicalization rules of the float level: operators that are made of others.

Where encrypted values go through them, they become sums, products and functions of single elements.
The client's own stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lutra.ir.core import Value
from lutra.ir.ops import Onnx
from lutra.ir.rewriter import Rewriter
from lutra.passes.client import is_encrypted
from lutra.passes.rules import Outcome, no, on
from lutra.passes.rules_linear import constant, node, padding, reshaped

AT_CLIENT = "the client computes it"


def _axes(axes: Sequence[int]) -> Value:
    return constant(axes, np.int64)


def _mean(x: Value, axes: Sequence[int]) -> Value:
    return node("ReduceMean", x, _axes(axes), keepdims=1)


def _number(number: float) -> Value:
    return constant(number, np.float32)


def _normalised(x: Value, axes: Sequence[int], epsilon: float) -> Value:
    """(x - mean) / sqrt(variance + epsilon) over some axes."""
    centred = node("Sub", x, _mean(x, axes))
    variance = _mean(node("Mul", centred, centred), axes)
    deviation = node("Sqrt", node("Add", variance, _number(epsilon)))
    return node("Div", centred, deviation)


def _affine(x: Value, scale: Value | None, bias: Value | None) -> Value:
    """x * scale + bias."""
    x = x if scale is None else node("Mul", x, scale)
    return x if bias is None else node("Add", x, bias)


@on("LayerNormalization")
def layer_norm_to_steps(op: Onnx, rw: Rewriter) -> Outcome:
    """LayerNormalization(x, a, b) -> (x - mean) / sqrt(variance + eps) * a + b"""
    if len(op.results) > 1 or not is_encrypted(op):
        return no(AT_CLIENT if len(op.results) == 1 else "its statistics are read too")
    x, rank = op.operands[0], len(op.result.shape)
    axes = range(op.attrs.get("axis", -1) % rank, rank)
    y = _normalised(x, axes, op.attrs.get("epsilon", 1e-5))
    rw.replace(op, _affine(y, op.input(1), op.input(2)))
    return None


@on("InstanceNormalization")
def instance_norm_to_steps(op: Onnx, rw: Rewriter) -> Outcome:
    """InstanceNormalization(x, a, b) -> (x - mean) / sqrt(variance + eps) * a + b, by channel"""
    if not is_encrypted(op):
        return no(AT_CLIENT)
    x, scale, bias = op.operands
    y = _normalised(x, range(2, len(x.shape)), op.attrs.get("epsilon", 1e-5))
    rw.replace(op, _affine(y, *(_by_channel(c, x) for c in (scale, bias))))
    return None


@on("GroupNormalization")
def group_norm_to_steps(op: Onnx, rw: Rewriter) -> Outcome:
    """GroupNormalization(x, a, b) -> (x - mean) / sqrt(variance + eps) * a + b, groups apart"""
    if not is_encrypted(op):
        return no(AT_CLIENT)
    x, scale, bias = op.operands
    groups = reshaped(x, (x.shape[0], op.attrs["num_groups"], -1))
    y = _normalised(groups, [2], op.attrs.get("epsilon", 1e-5))
    rw.replace(op, _affine(reshaped(y, x.shape), *(_by_channel(c, x) for c in (scale, bias))))
    return None


@on("MeanVarianceNormalization")
def mean_variance_norm_to_steps(op: Onnx, rw: Rewriter) -> Outcome:
    """MeanVarianceNormalization(x) -> (x - mean) / sqrt(variance + 1e-9)"""
    if not is_encrypted(op):
        return no(AT_CLIENT)
    rw.replace(op, _normalised(op.operands[0], op.attrs.get("axes", [0, 2, 3]), 1e-9))
    return None


def _by_channel(value: Value, x: Value) -> Value:
    """A vector with a number for each channel, in a shape that broadcasts to x [N, C, ...]."""
    return reshaped(value, (-1, *(1,) * (len(x.shape) - 2)))


@on("Softmax", "LogSoftmax")
def softmax_to_steps(op: Onnx, rw: Rewriter) -> Outcome:
    """Softmax(x) -> exp(z) / sum(exp(z)), LogSoftmax(x) -> z - log(sum(exp(z))), z = x - max(x)"""
    if not is_encrypted(op):
        return no(AT_CLIENT)
    x, axes = op.operands[0], _axes([op.attrs.get("axis", -1)])
    z = node("Sub", x, node("ReduceMax", x, axes, keepdims=1))
    exp = node("Exp", z)
    total = node("ReduceSum", exp, axes, keepdims=1)
    if op.op_type == "Softmax":
        rw.replace(op, node("Div", exp, total))
    else:
        rw.replace(op, node("Sub", z, node("Log", total)))
    return None


REDUCTIONS: dict[str, tuple[str, str]] = {
    "ReduceL1": ("Abs", ""),
    "ReduceL2": ("Mul", "Sqrt"),
    "ReduceLogSum": ("", "Log"),
    "ReduceLogSumExp": ("Exp", "Log"),
    "ReduceSumSquare": ("Mul", ""),
}
"""What stands before and behind the sum that they are."""


@on(*REDUCTIONS)
def reduction_to_sum(op: Onnx, rw: Rewriter) -> Outcome:
    """ReduceL2(x) -> sqrt(ReduceSum(x * x)); ReduceL1, ReduceLogSumExp and their kin alike"""
    if not is_encrypted(op):
        return no(AT_CLIENT)
    before, behind = REDUCTIONS[op.op_type]
    total = node("ReduceSum", _applied(before, op.operands[0]), *op.inputs[1:], **op.attrs)
    rw.replace(op, _applied(behind, total))
    return None


def _applied(op_type: str, x: Value) -> Value:
    if not op_type:
        return x
    return node("Mul", x, x) if op_type == "Mul" else node(op_type, x)


@on("LpPool", "GlobalLpPool")
def lp_pool_to_average(op: Onnx, rw: Rewriter) -> Outcome:
    """LpPool(x) -> (AveragePool(|x|^p) * window)^(1/p), GlobalLpPool(x) alike"""
    if not is_encrypted(op):
        return no(AT_CLIENT)
    x, p = op.operands[0], op.attrs.get("p", 2)
    powers = _power(node("Abs", x), p)
    if op.op_type == "GlobalLpPool":
        axes = range(2, len(x.shape))
        total = node("ReduceSum", powers, _axes(axes), keepdims=1)
    else:
        attrs = {k: v for k, v in op.attrs.items() if k not in ("p", "auto_pad", "pads")}
        kernel = op.attrs["kernel_shape"]
        pads = padding(op, x.shape, kernel)
        attrs |= {"pads": pads, "count_include_pad": 1, "ceil_mode": 0}
        average = node("AveragePool", powers, **attrs)
        total = node("Mul", average, _number(float(np.prod(kernel))))
    rw.replace(op, _power(total, 1 / p))
    return None


@on("LpNormalization")
def lp_norm_to_steps(op: Onnx, rw: Rewriter) -> Outcome:
    """LpNormalization(x) -> x / sum(|x|^p)^(1/p)"""
    if not is_encrypted(op):
        return no(AT_CLIENT)
    x, kind = op.operands[0], "ReduceL1" if op.attrs.get("p", 2) == 1 else "ReduceL2"
    rw.replace(op, node("Div", x, node(kind, x, _axes([op.attrs.get("axis", -1)]), keepdims=1)))
    return None


def _power(x: Value, exponent: float) -> Value:
    return x if exponent == 1 else node("Pow", x, _number(exponent))


@on("LRN")
def lrn_to_steps(op: Onnx, rw: Rewriter) -> Outcome:
    """LRN(x) -> x * (bias + alpha * mean over neighbouring channels of x * x)^-beta"""
    if not is_encrypted(op):
        return no(AT_CLIENT)
    x, size = op.operands[0], op.attrs["size"]
    samples, channels = x.shape[:2]
    columns = reshaped(node("Mul", x, x), (samples, 1, channels, -1))
    pads = [(size - 1) // 2, 0, size // 2, 0]
    mean = node("AveragePool", columns, kernel_shape=[size, 1], pads=pads, count_include_pad=1)
    scaled = node("Mul", mean, _number(op.attrs.get("alpha", 1e-4)))
    base = node("Add", scaled, _number(op.attrs.get("bias", 1.0)))
    factor = node("Pow", base, _number(-op.attrs.get("beta", 0.75)))
    rw.replace(op, node("Mul", x, reshaped(factor, x.shape)))
    return None


COMPOSED_RULES = (
    layer_norm_to_steps,
    instance_norm_to_steps,
    group_norm_to_steps,
    mean_variance_norm_to_steps,
    softmax_to_steps,
    reduction_to_sum,
    lp_pool_to_average,
    lp_norm_to_steps,
    lrn_to_steps,
)
