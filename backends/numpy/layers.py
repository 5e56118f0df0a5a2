"""Layers of a circuit as products of floating-point matrices, in types in which sums are exact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lutra.backends.numpy.cells import EXACT, Form, samples_first, samples_last
from lutra.ir import arith
from lutra.ir.core import Op, Value
from lutra.ir.ops import Conv, MatMul
from lutra.ir.types import Array

CHUNK = 1 << 24
"""Elements of the largest intermediate arrays."""


def multiplies_in(op: Op, reach: Mapping[Value, int]) -> Form | None:
    """Type in which a layer's sums are exact; none for what is no layer, or not exact in floats."""
    one_matrix = isinstance(op, MatMul) and op.w.ndim == 2
    one_image = isinstance(op, Conv) and op.x.shape[0] == 1
    if not (one_matrix or one_image):
        return None
    bound = reach[op.results[0]]  # of all partial sums, too
    floats = (np.dtype(np.float32), np.dtype(np.float64))
    return next((form for form in floats if bound < EXACT[form]), None)


class Product:
    """x @ w for a matrix w."""

    def __init__(self, op: MatMul, form: Form, wanted: Form | None) -> None:
        self.inputs, self.outputs = op.operands, op.results
        self._w = np.ascontiguousarray(op.w.T, form)
        self._form, self._wanted = form, wanted or form

    def run(self, arrays: Sequence[Array], samples: int) -> list[Array]:
        x = samples_last(arrays[0], self._form)
        return [samples_first(np.matmul(self._w, x).astype(self._wanted, copy=False))]


class Convolution:
    """A convolution of one image for each sample."""

    def __init__(self, op: Conv, form: Form, wanted: Form | None) -> None:
        self.inputs, self.outputs = op.operands, op.results
        self._op = op
        self._w = op.w.reshape(op.group, op.w.shape[0] // op.group, -1).astype(form)
        self._form, self._wanted = form, wanted or form
        positions = int(np.prod(op.result.shape[2:]))
        self._chunk = max(1, CHUNK // max(1, self._w.shape[-1] * op.group * positions))

    def run(self, arrays: Sequence[Array], samples: int) -> list[Array]:
        x = samples_first(samples_last(arrays[0], self._form))[:, 0]
        shape = self._op.result.shape
        result = np.empty((*shape, len(x)), self._form)
        for start in range(0, len(x), self._chunk):
            part = slice(start, start + self._chunk)
            products = np.matmul(self._w, self._columns(x[part]))
            result[..., part] = products.reshape(*shape, -1)
        return [samples_first(result.astype(self._wanted, copy=False))]

    def _columns(self, x: Array) -> Array:
        """What each kernel sees: [group, C/group * kernel, positions * samples]."""
        op = self._op
        windows = arith.conv_windows(x, op.w.shape[2:], op.strides, op.dilations)
        space = op.w.ndim - 2
        kernel, positions = range(2 + space, 2 + 2 * space), range(2, 2 + space)
        return windows.transpose(1, *kernel, *positions, 0).reshape(op.group, self._w.shape[-1], -1)
