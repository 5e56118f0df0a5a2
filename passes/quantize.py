"""Pass `quantize`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lutra.ir.core import Graph
from lutra.ir.ops import Dequantize, IntConstant, Observe, Onnx, Quantize, constant_of
from lutra.ir.rewriter import Rewriter
from lutra.ir.traits import WEIGHTED
from lutra.ir.types import Array, Ints, frozen
from lutra.passes.affine import NO_OFFSET, ZERO
from lutra.passes.base import Context, Lossy, Pass
from lutra.passes.bits import Bits, bits_for, check_bits
from lutra.passes.flow import Flow, is_onnx, is_truth
from lutra.passes.joint_scales import compared, joint_steps, multiplied
from lutra.passes.readers import is_fittable, meets_itself


@dataclass(frozen=True)
class QuantizeModel(Pass):
    """Post-training quantization: put quantize and dequantize where `calibrate` put `observe`.

    Activations get one scale and zero point for the whole tensor, weights (unless
    `per_channel=false`) one symmetric scale for each output channel, rounded to nearest.
    Activations that are added up have scales in the proportion of small integers. Roles:

    weights         of the weighted layers.
    inputs          of the graph.
    activations     all other values that a linear operator reads.

    maxima          of the inputs and activations that maxima are taken of, where these have more:
                    a maximum looks up what has about as many bits. One less of those that are
                    multiplied with others, as sums of two are looked up then.

    Each takes a number, or a map from patterns of layers' names: `weights={"/conv1/*"=8,"*"=4}`.

    headroom: how far activations may leave the range that calibration observed before they are
        clipped, as a share of it. It adds levels, not wider steps; values that maxima are taken of
        have none, as their levels cost.
    coarse: bits of the weights of layers that `fit-weights` will leave as they are, because more
        than sums stands between them and the next look-up. None gives them as many as all.
    signed: count levels of activations and inputs from -2^(bits - 1) instead of 0, which makes what
        layers add up narrower.
    """

    name = "quantize"
    contract = Lossy
    requires = frozenset({"observed"})
    provides = frozenset({"quantized"})
    weights: Bits = 8
    activations: Bits = 8
    inputs: Bits = 8
    per_channel: bool = True
    headroom: float = 0.0
    maxima: Bits | None = None
    signed: bool = False
    coarse: Bits | None = None

    def __post_init__(self) -> None:
        check_bits(self.weights, "weights", low=2)
        check_bits(self.activations, "activations")
        check_bits(self.inputs, "inputs")
        if self.maxima is not None:
            check_bits(self.maxima, "maxima")
        if self.coarse is not None:
            check_bits(self.coarse, "coarse", low=2)

    def run(self, graph: Graph, rewriter: Rewriter, context: Context) -> None:
        flow = Flow(graph)
        factors = multiplied(graph, flow)
        few = {**dict.fromkeys(compared(graph, flow), 0), **dict.fromkeys(factors, 1)}
        bits = {op: self._bits(op, flow, few.get(op)) for op in graph.of(Observe)}
        steps = joint_steps(
            graph,
            flow,
            {
                op: float(affine_grid(op.lo, op.hi, number)[0])
                for op, number in bits.items()
                if not is_truth(op.x)
            },
        )
        grids = {
            op: self._grid(op, weights, flow)
            for op in graph.of(Onnx)
            if is_onnx(op, *WEIGHTED) and not op.results[0].clear  # else the client keeps floats
            if (weights := constant_of(op.input(1))) is not None
        }
        for op in list(graph.ops):
            if isinstance(op, Observe):
                fixed = op in few or op.x in flow.client or is_truth(op.x)
                headroom = 0.0 if fixed else self.headroom
                self._activation(op, bits[op], steps.get(op), headroom, rewriter)
        for layer, (width, axis) in grids.items():
            self._weights(layer, width, axis, rewriter)

    def _bits(self, op: Observe, flow: Flow, fewer: int | None) -> int:
        """Bits of a value. fewer: than `maxima` says; None where that does not count."""
        if is_truth(op.x):
            return 1
        role = "inputs" if op.x in flow.client else "activations"
        bits = bits_for(getattr(self, role), op.loc, role)
        if fewer is None or self.maxima is None:
            return bits
        return min(bits, max(1, bits_for(self.maxima, op.loc, "maxima") - fewer))

    def _activation(
        self, op: Observe, bits: int, step: float | None, headroom: float, rewriter: Rewriter
    ) -> None:
        """Put a value onto a grid, of steps as large as `step` if that is given."""
        lo, hi = (0.0, 1.0) if is_truth(op.x) else (op.lo, op.hi)
        if step is not None:
            hi = lo + step * (2**bits - 1)
        scale, zero_point = affine_grid(lo, hi, bits)
        first, top = 0, 2**bits - 1
        if self.signed and not is_truth(op.x):
            first = -(2 ** (bits - 1))
            zero_point = frozen(zero_point + first, np.int64)
        beyond = math.ceil(headroom * top)
        quantized = Quantize(op.x, scale, zero_point, first - beyond, first + top + beyond)
        q = rewriter.insert(quantized, before=op, loc=op.loc).result
        # without origins of its own: the layer that reads it is not the one that computed it
        x = rewriter.insert(Dequantize(q, scale, zero_point, NO_OFFSET), before=op).result
        rewriter.replace_uses(op.result, x)
        rewriter.erase(op)

    def _grid(self, op: Onnx, weights: Array, flow: Flow) -> tuple[int, int | None]:
        """Bits of a layer's weights, and the axis of which each index has a scale of its own."""
        channels = (0 if op.op_type == "Conv" else weights.ndim - 1) if self.per_channel else None
        if self.coarse is None or is_fittable(op, flow):
            return bits_for(self.weights, op.loc, "weights"), channels
        alone = None if meets_itself(op, flow) else channels
        return bits_for(self.coarse, op.loc, "coarse"), alone

    def _weights(self, op: Onnx, bits: int, channels: int | None, rewriter: Rewriter) -> None:
        old = op.inputs[1]
        weights = constant_of(old)
        assert old is not None
        assert weights is not None  # else it has no grid
        integers, scale = symmetric_grid(weights, bits, channels)
        value = rewriter.insert(IntConstant(integers), before=op, loc=op.loc)
        dequantize = Dequantize(value.result, scale, ZERO, NO_OFFSET)
        new = rewriter.insert(dequantize, before=op, loc=op.loc)
        rewriter.replace_uses(old, new.result, only=[op])


def affine_grid(lo: float, hi: float, bits: int) -> tuple[Array, Ints]:
    """(scale, zero point) such that 0 .. 2^bits - 1 spans lo .. hi; a 0 between them is exact."""
    scale = (hi - lo) / (2**bits - 1) or abs(lo) or 1.0
    return frozen(scale, np.float32), frozen(np.rint(-lo / scale), np.int64)


def affine_quantized(x: Array, lo: float, hi: float, bits: int) -> Array:
    """The floats that x becomes on the grid of `bits` bits that spans lo .. hi."""
    scale, zero_point = affine_grid(lo, hi, bits)
    levels = np.clip(np.rint(x / scale) + zero_point, 0, 2**bits - 1)
    return np.asarray((levels - zero_point) * scale, np.float32)


def symmetric_grid(weights: Array, bits: int, channel_axis: int | None) -> tuple[Ints, Array]:
    """(integers, scales) with weights ~ integers * scales and |integers| < 2^(bits - 1)."""
    axes = tuple(axis for axis in range(weights.ndim) if axis != channel_axis)
    largest = np.abs(weights).max(axes, keepdims=True)
    scale = np.where(largest > 0, largest, 1.0).astype(np.float32) / np.float32(2 ** (bits - 1) - 1)
    return np.rint(weights / scale).astype(np.int64), scale
