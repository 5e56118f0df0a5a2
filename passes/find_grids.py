"""Pass `find-grids`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lutra.ir.core import Graph
from lutra.ir.ops import Dequantize, IntConstant, Onnx, constant_of
from lutra.ir.rewriter import Rewriter
from lutra.ir.traits import WEIGHTED
from lutra.ir.types import Array, Ints, frozen
from lutra.passes.affine import NO_OFFSET, ZERO
from lutra.passes.base import Context, Pass, Within
from lutra.passes.bits import check_bits
from lutra.passes.flow import is_onnx

TOLERANCE = 1e-5
"""How far weights may lie off the grid, as a part of the largest one."""


@dataclass(frozen=True)
class FindGrids(Pass):
    """Take weights that are multiples of one step as the quantized weights that they are.

    Models that were quantized in training may say so by floats alone, such as 0.3, -0.1, 0.2. The
    integers are kept then, where `quantize` would choose a scale for each channel anew.

    bits: of the integers, at most; they are signed.

    weights    ->    dequantize(int_constant, scale)
    """

    name = "find-grids"
    contract = Within(1e-5)
    requires = frozenset({"one graph"})
    bits: int = 8

    def __post_init__(self) -> None:
        check_bits(self.bits, "bits", low=2)

    def run(self, graph: Graph, rewriter: Rewriter, context: Context) -> None:
        for op in list(graph.ops):
            if not is_onnx(op, *WEIGHTED):
                continue
            assert isinstance(op, Onnx)
            old = op.input(1)
            weights = constant_of(old)
            found = None if weights is None else grid_of(weights, self.bits)
            if old is None or found is None:
                continue
            integers, scale = found
            value = rewriter.insert(IntConstant(integers), before=op, loc=op.loc)
            floats = Dequantize(value.result, scale, ZERO, NO_OFFSET)
            new = rewriter.insert(floats, before=op, loc=op.loc).result
            rewriter.replace_uses(old, new, only=[op])


def grid_of(weights: Array, bits: int) -> tuple[Ints, Array] | None:
    """(integers, scale) with weights = integers * scale, of the widest step; None if there is none.

    The integers lie within -2^(bits - 1) and 2^(bits - 1) - 1.
    """
    values = np.asarray(weights, np.float64)
    largest = float(np.abs(values).max(initial=0))
    if largest == 0:
        return None
    for steps in range(1, 2 ** (bits - 1) + 1):
        scale = largest / steps
        integers = np.rint(values / scale)
        if np.abs(integers * scale - values).max() > TOLERANCE * largest:
            continue
        if integers.max() < 2 ** (bits - 1):
            return integers.astype(np.int64), frozen(scale, np.float32)
    return None
