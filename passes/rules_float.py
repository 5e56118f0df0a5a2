"""Canonicalization rules of the float level."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lutra.ir.core import Op, Value
from lutra.ir.ops import Constant, Onnx, constant_of, scalar_of
from lutra.ir.rewriter import Rewriter
from lutra.ir.traits import NONDECREASING, Trait, trait
from lutra.ir.types import Array
from lutra.passes.flow import affine_constant, encrypted_operands, is_onnx
from lutra.passes.rules import Outcome, no

LINEAR_WITH_WEIGHTS = ("Conv", "MatMul")


def constant(array: Array) -> Value:
    """A new constant, detached until what reads it is inserted."""
    return Constant(np.asarray(array)).result


def node(op_type: str, *inputs: Value | None, **attrs: object) -> Value:
    """The result of a new ONNX node, detached until what reads it is inserted."""
    return Onnx.make(op_type, inputs, **attrs).result


def gemm_to_matmul(gemm: Onnx, rw: Rewriter) -> Outcome:
    """Gemm(a, b, c) -> MatMul(a, alpha * b) + beta * c"""
    if not is_onnx(gemm, "Gemm"):
        return no("not a Gemm")
    a, b, c = gemm.input(0), gemm.input(1), gemm.input(2)
    assert a is not None and b is not None
    if gemm.attrs.get("transA", 0):
        a = node("Transpose", a, perm=[1, 0])
    if gemm.attrs.get("transB", 0):
        b = node("Transpose", b, perm=[1, 0])
    alpha, beta = gemm.attrs.get("alpha", 1.0), gemm.attrs.get("beta", 1.0)
    if alpha != 1.0:
        b = node("Mul", b, constant(np.float32(alpha)))
    result = node("MatMul", a, b)
    if c is not None:
        scaled = c if beta == 1.0 else node("Mul", c, constant(np.float32(beta)))
        result = node("Add", result, scaled)
    rw.replace(gemm, result)
    return None


def conv_without_bias(conv: Onnx, rw: Rewriter) -> Outcome:
    """Conv(x, w, b) -> Conv(x, w) + b"""
    bias = conv.input(2) if is_onnx(conv, "Conv") else None
    if bias is None:
        return no("not a Conv with a bias")
    shape = np.array([-1] + [1] * (len(conv.results[0].shape) - 2), dtype=np.int64)
    x, w = conv.inputs[:2]
    rw.replace(
        conv,
        node("Add", node("Conv", x, w, **conv.attrs), node("Reshape", bias, constant(shape))),
    )
    return None


def conv_without_padding(conv: Onnx, rw: Rewriter) -> Outcome:
    """Conv(x, w, pads) -> Conv(Pad(x, pads), w)"""
    if not is_onnx(conv, "Conv"):
        return no("not a Conv")
    x, w = conv.inputs[0], conv.inputs[1]
    assert x is not None and w is not None
    pads = padding(conv, x.shape, w.shape[2:])
    if not any(pads) and conv.attrs.get("auto_pad", "NOTSET") in ("NOTSET", "VALID"):
        return no("nothing is padded")
    attrs = {k: v for k, v in conv.attrs.items() if k not in ("pads", "auto_pad")}
    rw.replace(conv, node("Conv", _pad(x, pads, 0.0), *conv.inputs[1:], **attrs))
    return None


def pool_without_padding(pool: Onnx, rw: Rewriter) -> Outcome:
    """AveragePool(x, pads) -> AveragePool(Pad(x, pads)) * window / elements averaged"""
    if not is_onnx(pool, "AveragePool"):
        return no("not an AveragePool")
    x = pool.inputs[0]
    assert x is not None
    kernel = pool.attrs["kernel_shape"]
    pads = padding(pool, x.shape, kernel)
    if not any(pads):
        return no("nothing is padded")
    drop = ("pads", "auto_pad", "count_include_pad", "ceil_mode")
    attrs = {k: v for k, v in pool.attrs.items() if k not in drop}
    pooled = node("AveragePool", _pad(x, pads, 0.0), **attrs)
    # What the pool makes of ones tells by which share of its window each position is averaged.
    ones = constant(np.ones(x.shape, np.float32))
    share = node("AveragePool", _pad(ones, pads, 0.0), **attrs)
    kept = Onnx((ones,), "AveragePool", (pool.types[0],), pool.attrs).result
    rw.replace(pool, node("Mul", pooled, node("Div", kept, share)))
    return None


def max_pool_without_padding(pool: Onnx, rw: Rewriter) -> Outcome:
    """MaxPool(x, pads) -> MaxPool(Pad(x, pads, -max))"""
    if not is_onnx(pool, "MaxPool") or len(pool.results) > 1:
        return no("not a MaxPool with one result")
    x = pool.inputs[0]
    assert x is not None
    pads = padding(pool, x.shape, pool.attrs["kernel_shape"])
    if not any(pads):
        return no("nothing is padded")
    drop = ("pads", "auto_pad", "ceil_mode")
    attrs = {k: v for k, v in pool.attrs.items() if k not in drop}
    lowest = float(np.finfo(np.float32).min)
    rw.replace(pool, node("MaxPool", _pad(x, pads, lowest), **attrs))
    return None


def padding(op: Onnx, shape: Sequence[int], kernel: Sequence[int]) -> list[int]:
    """Explicit pads (all starts, then all ends) of a convolution or pooling.

    With `ceil_mode`, the end is padded so that the last, partial window exists.
    """
    space = len(kernel)
    auto = op.attrs.get("auto_pad", "NOTSET")
    strides = op.attrs.get("strides", [1] * space)
    dilations = op.attrs.get("dilations", [1] * space)
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = list(op.attrs.get("pads", [0] * 2 * space)) if auto == "NOTSET" else [0] * 2 * space
    out = op.results[0].shape[2:]
    for axis in range(space):
        if auto.startswith("SAME") or op.attrs.get("ceil_mode", 0):
            reach = (out[axis] - 1) * strides[axis] + extents[axis]
            missing = max(0, reach - shape[axis + 2] - pads[axis] - pads[axis + space])
            first = missing // 2 if auto == "SAME_UPPER" else missing - missing // 2
            first = 0 if auto == "NOTSET" else first
            pads[axis] += first
            pads[axis + space] += missing - first
    return pads


def _pad(x: Value, pads: Sequence[int], value: float) -> Value:
    space = len(pads) // 2
    amounts = np.array([0, 0, *pads[:space], 0, 0, *pads[space:]], dtype=np.int64)
    if not amounts.any():
        return x
    return node("Pad", x, constant(amounts), constant(np.float32(value)), mode="constant")


def batch_norm_to_affine(bn: Onnx, rw: Rewriter) -> Outcome:
    """BatchNormalization(x) -> x * a + b, with a = scale / sqrt(var + eps), b = bias - mean * a"""
    if not is_onnx(bn, "BatchNormalization"):
        return no("not a BatchNormalization")
    if bn.attrs.get("training_mode", 0):
        return no("it is in training mode")
    parameters = [constant_of(bn.input(i)) for i in range(1, 5)]
    x = bn.inputs[0]
    if x is None or any(array is None for array in parameters):
        return no("its statistics are not constant")
    scale, bias, mean, var = (np.asarray(p, np.float64) for p in parameters)
    a = scale / np.sqrt(var + bn.attrs.get("epsilon", 1e-5))
    shape = (-1,) + (1,) * (len(x.shape) - 2)
    factor, term = (c.astype(np.float32).reshape(shape) for c in (a, bias - mean * a))
    rw.replace(bn, node("Add", node("Mul", x, constant(factor)), constant(term)))
    return None


def affine_behind_linear(op: Onnx, rw: Rewriter) -> Outcome:
    """x - c -> x + (-c) and x / c -> x * (1 / c), for constants c behind a linear operator"""
    affine = affine_constant(op) if is_onnx(op, "Sub", "Div") else None
    if affine is None or not _is_linear_sum(affine[0]):
        return no("not a constant subtracted from or dividing a linear operator's result")
    x, c = affine
    if op.op_type == "Sub":
        rw.replace(op, node("Add", x, constant(-c)))
    elif (c == 0).any():
        return no("it divides by zero")
    else:
        rw.replace(op, node("Mul", x, constant((1 / c.astype(np.float64)).astype(c.dtype))))
    return None


def merge_terms(op: Onnx, rw: Rewriter) -> Outcome:
    """(x + b) + c -> x + (b + c)"""
    outer = affine_constant(op) if is_onnx(op, "Add") else None
    inner = affine_constant(outer[0].owner) if outer and is_onnx(outer[0].owner, "Add") else None
    if outer is None or inner is None or not outer[0].used_once:
        return no("not a sum of constants added one after the other")
    rw.replace(op, node("Add", inner[0], constant(inner[1] + outer[1])))
    return None


def factor_before_term(op: Onnx, rw: Rewriter) -> Outcome:
    """(x + b) * c -> x * c + b * c, for x a linear operator's result"""
    outer = affine_constant(op) if is_onnx(op, "Mul") else None
    inner = affine_constant(outer[0].owner) if outer and is_onnx(outer[0].owner, "Add") else None
    if outer is None or inner is None or not outer[0].used_once:
        return no("not a factor behind a constant term")
    x, b = inner
    if not is_onnx(x.owner, *LINEAR_WITH_WEIGHTS):
        return no("the sum is not a linear operator's result")
    factor = outer[1]
    rw.replace(op, node("Add", node("Mul", x, constant(factor)), constant(b * factor)))
    return None


def factor_into_weights(op: Onnx, rw: Rewriter) -> Outcome:
    """Conv(x, w) * c -> Conv(x, w * c), and the same for MatMul"""
    affine = affine_constant(op) if is_onnx(op, "Mul") else None
    if affine is None or not is_onnx(affine[0].owner, *LINEAR_WITH_WEIGHTS):
        return no("not a factor behind a linear operator")
    value, c = affine
    linear = value.owner
    assert isinstance(linear, Onnx)
    x, w = linear.inputs
    weights = constant_of(w)
    if weights is None or not value.used_once:
        return no("its weights are not constant, or its result has another user")
    scaled = _scale_channels(linear.op_type, weights, c, value.shape)
    if scaled is None:
        return no("the factor differs within an output channel")
    rw.replace(op, node(linear.op_type, x, constant(scaled), **linear.attrs))
    return None


def _scale_channels(
    op_type: str, weights: Array, factor: Array, shape: tuple[int, ...]
) -> Array | None:
    axis = 1 if op_type == "Conv" else len(shape) - 1
    aligned = factor.reshape((1,) * (len(shape) - factor.ndim) + factor.shape)
    if any(size != 1 for i, size in enumerate(aligned.shape) if i != axis):
        return None
    flat = aligned.reshape(-1)
    if op_type == "Conv":
        return weights * flat.reshape((-1,) + (1,) * (weights.ndim - 1))
    return weights * flat


def clear_matmul_encrypted(matmul: Onnx, rw: Rewriter) -> Outcome:
    """MatMul(w, x) -> Transpose(MatMul(Transpose(x), Transpose(w))), for constant w"""
    if not is_onnx(matmul, "MatMul"):
        return no("not a MatMul")
    w, x = matmul.inputs
    assert x is not None
    weights = constant_of(w)
    if weights is None or constant_of(x) is not None or weights.ndim < 2 or len(x.shape) < 2:
        return no("its first operand is not a constant matrix")
    rank = max(len(x.shape), weights.ndim)
    if len(x.shape) < rank:
        shape = np.array((1,) * (rank - len(x.shape)) + x.shape, dtype=np.int64)
        x = node("Reshape", x, constant(shape))
    swap = [*range(rank - 2), rank - 1, rank - 2]
    product = node("MatMul", node("Transpose", x, perm=swap), constant(weights.swapaxes(-1, -2)))
    rw.replace(matmul, node("Transpose", product, perm=swap))
    return None


def explicit_broadcast(op: Onnx, rw: Rewriter) -> Outcome:
    """f(x, c) -> f(Expand(x), c), where c is larger than x"""
    if trait(op) is not Trait.ELEMENTWISE or op.domain:
        return no("not an elementwise operator")
    shape = op.results[0].shape
    small = [value for value in encrypted_operands(op) if value.shape != shape]
    if not small:
        return no("nothing is broadcast")
    target = np.array(shape, dtype=np.int64)
    for value in dict.fromkeys(small):
        expanded = rw.insert(Onnx.make("Expand", (value, constant(target))), before=op, loc=op.loc)
        rw.replace_uses(value, expanded.result, only=[op])
    return None


def monotone_before_max_pool(op: Onnx, rw: Rewriter) -> Outcome:
    """f(MaxPool(x)) -> MaxPool(f(x)), for nondecreasing f: the maximum is taken of few bits"""
    pool = op.operands[0].owner if len(op.operands) == 1 and is_onnx(op, *NONDECREASING) else None
    if pool is None or not is_onnx(pool, "MaxPool", "GlobalMaxPool"):
        return no("not a nondecreasing function of a max-pooling")
    assert isinstance(pool, Onnx)
    if len(pool.results) > 1 or not pool.result.used_once:
        return no("the pooling's result has another user")
    rw.replace(op, node(pool.op_type, node(op.op_type, *pool.inputs, **op.attrs), **pool.attrs))
    return None


def movement_before_elementwise(move: Onnx, rw: Rewriter) -> Outcome:
    """move(f(x, c)) -> f(move(x), move(c)), where the movement does not add elements"""
    if not isinstance(move, Onnx) or trait(move) is not Trait.STRUCTURAL or len(move.results) > 1:
        return no("not a structural operator with one result")
    encrypted = encrypted_operands(move)
    if len(encrypted) != 1 or move.inputs[0] is not encrypted[0]:
        return no("it moves several values")
    source = encrypted[0]
    f = source.owner
    if not isinstance(f, Onnx) or trait(f) is not Trait.ELEMENTWISE or not source.used_once:
        return no("it does not move the result of an elementwise operator read only here")
    if np.prod(move.results[0].shape) > np.prod(source.shape) or move.op_type == "Pad":
        return no("it adds elements")

    def moved(value: Value | None) -> Value | None:
        if value is None or scalar_of(value) is not None:
            return value
        array = constant_of(value)
        if array is not None:
            value = constant(np.broadcast_to(array, source.shape))
        return node(move.op_type, value, *move.inputs[1:], **move.attrs)

    rw.replace(move, node(f.op_type, *map(moved, f.inputs), **f.attrs))
    return None


def _is_linear_sum(value: Value) -> bool:
    """Whether a value is a linear operator's result, perhaps with constants added or multiplied."""
    op: Op = value.owner
    while True:
        if is_onnx(op, *LINEAR_WITH_WEIGHTS):
            return True
        affine = affine_constant(op)
        if affine is None:
            return False
        op = affine[0].owner


FLOAT_RULES = (
    gemm_to_matmul,
    conv_without_padding,
    conv_without_bias,
    pool_without_padding,
    max_pool_without_padding,
    batch_norm_to_affine,
    affine_behind_linear,
    merge_terms,
    factor_before_term,
    factor_into_weights,
    clear_matmul_encrypted,
    explicit_broadcast,
    monotone_before_max_pool,
    movement_before_elementwise,
)
