"""Canonicalization rules of the integer level. All are exact."""

from __future__ import annotations

import numpy as np

from lutra.ir.ops import (
    AddClear,
    Assume,
    Conv,
    MatMul,
    MulClear,
    Reshape,
    Slice,
    Transpose,
)
from lutra.ir.rewriter import Rewriter
from lutra.ir.types import Array, Ints, compress
from lutra.passes.rules import Outcome, no


def drop_zero_term(op: AddClear, rw: Rewriter) -> Outcome:
    """x + 0 -> x"""
    if op.c.any():
        return no("the term is not 0")
    rw.replace(op, op.x)
    return None


def drop_unit_factor(op: MulClear, rw: Rewriter) -> Outcome:
    """x * 1 -> x"""
    if (op.c != 1).any():
        return no("the factor is not 1")
    rw.replace(op, op.x)
    return None


def merge_clear_terms(op: AddClear, rw: Rewriter) -> Outcome:
    """(x + a) + b -> x + (a + b)"""
    inner = op.x.owner
    if not isinstance(inner, AddClear) or not op.x.used_once:
        return no("its operand is no sum with clear integers that is used only here")
    rw.replace(op, AddClear(inner.x, inner.c + op.c))
    return None


def merge_clear_factors(op: MulClear, rw: Rewriter) -> Outcome:
    """(x * a) * b -> x * (a * b)"""
    inner = op.x.owner
    if not isinstance(inner, MulClear) or not op.x.used_once:
        return no("its operand is no product with clear integers that is used only here")
    rw.replace(op, MulClear(inner.x, inner.c * op.c))
    return None


def factor_before_clear_term(op: MulClear, rw: Rewriter) -> Outcome:
    """(x + a) * b -> x * b + a * b"""
    inner = op.x.owner
    if not isinstance(inner, AddClear) or not op.x.used_once:
        return no("its operand is no sum with clear integers that is used only here")
    rw.replace(op, AddClear(MulClear(inner.x, op.c).result, inner.c * op.c))
    return None


def factor_before_assume(op: MulClear, rw: Rewriter) -> Outcome:
    """assume(x, lo, hi) * c -> assume(x * c, lo * c, hi * c), for c > 0"""
    inner = op.x.owner
    if not isinstance(inner, Assume) or not op.x.used_once or (op.c <= 0).any():
        return no("its operand is no assumption used only here, or a factor is not positive")
    rw.replace(op, Assume(MulClear(inner.x, op.c).result, inner.lo * op.c, inner.hi * op.c))
    return None


def term_before_assume(op: AddClear, rw: Rewriter) -> Outcome:
    """assume(x, lo, hi) + c -> assume(x + c, lo + c, hi + c)"""
    inner = op.x.owner
    if not isinstance(inner, Assume) or not op.x.used_once:
        return no("its operand is no assumption used only here")
    rw.replace(op, Assume(AddClear(inner.x, op.c).result, inner.lo + op.c, inner.hi + op.c))
    return None


def factor_into_matmul(op: MulClear, rw: Rewriter) -> Outcome:
    """(x @ w) * c -> x @ (w * c), for c constant within each column"""
    inner = op.x.owner
    if not isinstance(inner, MatMul) or not op.x.used_once:
        return no("its operand is no matmul used only here")
    factor = _along(op.c, len(op.x.shape) - 1, len(op.x.shape))
    if factor is None:
        return no("the factor differs within a column")
    rw.replace(op, MatMul(inner.x, inner.w * factor))
    return None


def factor_into_conv(op: MulClear, rw: Rewriter) -> Outcome:
    """conv(x, w) * c -> conv(x, w * c), for c constant within each output channel"""
    inner = op.x.owner
    if not isinstance(inner, Conv) or not op.x.used_once:
        return no("its operand is no conv used only here")
    factor = _along(op.c, 1, len(op.x.shape))
    if factor is None:
        return no("the factor differs within a channel")
    w = inner.w * factor.reshape(-1, *(1,) * (inner.w.ndim - 1))
    rw.replace(op, Conv(inner.x, w, inner.strides, inner.dilations, inner.group))
    return None


def factor_before_reshape(op: MulClear, rw: Rewriter) -> Outcome:
    """reshape(x) * c -> reshape(x * reshape(c)), so that the factor comes to the weights"""
    inner = op.x.owner
    if not isinstance(inner, Reshape) or not op.x.used_once:
        return no("its operand is no reshape used only here")
    c = np.broadcast_to(op.c, op.x.shape).reshape(inner.x.shape)
    rw.replace(op, Reshape(MulClear(inner.x, compress(c)).result, inner.shape))
    return None


def factor_before_transpose(op: MulClear, rw: Rewriter) -> Outcome:
    """transpose(x) * c -> transpose(x * transpose(c)), so that the factor comes to the weights"""
    inner = op.x.owner
    if not isinstance(inner, Transpose) or not op.x.used_once:
        return no("its operand is no transpose used only here")
    c = np.broadcast_to(op.c, op.x.shape).transpose(np.argsort(inner.perm))
    rw.replace(op, Transpose(MulClear(inner.x, compress(c)).result, inner.perm))
    return None


def _along(c: Ints, axis: int, rank: int) -> Array | None:
    """c as a vector along one axis, None if it varies along another."""
    aligned = c.reshape((1,) * (rank - c.ndim) + c.shape)
    others = (size for i, size in enumerate(aligned.shape) if i != axis)
    return None if any(size != 1 for size in others) else aligned.reshape(-1)


def drop_identity_reshape(op: Reshape, rw: Rewriter) -> Outcome:
    """reshape(x) -> x, where the shape stays"""
    if op.shape != op.x.shape:
        return no("the shape changes")
    rw.replace(op, op.x)
    return None


def merge_reshapes(op: Reshape, rw: Rewriter) -> Outcome:
    """reshape(reshape(x)) -> reshape(x)"""
    inner = op.x.owner
    if not isinstance(inner, Reshape):
        return no("its operand is no reshape")
    rw.replace(op, Reshape(inner.x, op.shape))
    return None


def transpose_to_reshape(op: Transpose, rw: Rewriter) -> Outcome:
    """transpose(x) -> reshape(x), where only axes of size 1 change places"""
    large = [axis for axis in op.perm if op.x.shape[axis] != 1]
    if large != sorted(large):
        return no("elements change places")
    rw.replace(op, Reshape(op.x, op.result.shape))
    return None


def merge_transposes(op: Transpose, rw: Rewriter) -> Outcome:
    """transpose(transpose(x, p), q) -> transpose(x, p[q])"""
    inner = op.x.owner
    if not isinstance(inner, Transpose):
        return no("its operand is no transpose")
    rw.replace(op, Transpose(inner.x, tuple(int(i) for i in np.array(inner.perm)[list(op.perm)])))
    return None


def drop_full_slice(op: Slice, rw: Rewriter) -> Outcome:
    """x[:] -> x"""
    if op.result.shape != op.x.shape or any(step < 0 for step in op.steps):
        return no("it drops or reverses elements")
    rw.replace(op, op.x)
    return None


INTEGER_RULES = (
    drop_zero_term,
    drop_unit_factor,
    merge_clear_terms,
    merge_clear_factors,
    factor_before_clear_term,
    factor_before_assume,
    term_before_assume,
    factor_into_matmul,
    factor_into_conv,
    factor_before_reshape,
    factor_before_transpose,
    drop_identity_reshape,
    merge_reshapes,
    transpose_to_reshape,
    merge_transposes,
    drop_full_slice,
)
