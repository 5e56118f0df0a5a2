"""Pass `equalize`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np

from lutra.ir.core import Graph, Op, Value
from lutra.ir.errors import PipelineError
from lutra.ir.interpreter import Interpreter
from lutra.ir.ops import Constant, Onnx, constant_of
from lutra.ir.rewriter import Rewriter
from lutra.ir.types import Array
from lutra.passes.base import Context, Pass, Within
from lutra.passes.dce import eliminate_dead_code
from lutra.passes.flow import is_onnx

LAYERS = ("Conv", "MatMul")
HOMOGENEOUS = ("Identity", "LeakyRelu", "Relu")
"""Functions with f(s * x) = s * f(x) for positive s, of single elements."""
POOLING = ("AveragePool", "GlobalAveragePool", "MaxPool")
"""The same of windows, in each channel that a Conv makes."""
PASSES = 20
"""How often all pairs are looked at: neighbours share layers, and settle together."""
SETTLED = 1e-3
"""The change of scale below which nothing more is done."""


@dataclass(frozen=True)
class Pair:
    """A layer, what adds constants behind it, and the layer that reads its activations."""

    first: Onnx
    added: tuple[Onnx, ...]
    second: Onnx


@dataclass(frozen=True)
class Equalize(Pass):
    """Move scale between channels of neighbouring layers, so that weights become as large in each.

    Where a positively homogeneous function (Relu, LeakyRelu, PRelu, pooling) stands between two
    layers, a channel may leave the first one s times as small if the second one reads it s times
    as large:

        w2 @ relu(w1 @ x + b)    ->    (w2 * s) @ relu((w1 / s) @ x + b / s)

    With s = sqrt(largest |w1| / largest |w2|) of the channel, its weights reach equally far in both
    (Nagel et al., "Data-free quantization through weight equalization and bias correction", ICCV
    2019). That is meant for weights with one scale for a whole layer, and activations, which share
    one. No preset does it: after `fit-weights` it gains nothing that lasts, with scales by channel
    or without.

    activations: go by what is between the layers instead: s is the largest activation of the
        channel on calibration data to this power, 0.5 for instance. Channels of small activations
        then get more of the levels that all share, and less of the second layer's
        (Xiao et al., "SmoothQuant", ICML 2023). That helps with 3 or 4 bits.
    """

    name = "equalize"
    contract = Within(1e-5)
    requires = frozenset({"one graph"})
    activations: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.activations <= 1:
            raise PipelineError("P002", f"`activations` is {self.activations}, no share of 1")

    def run(self, graph: Graph, rewriter: Rewriter, context: Context) -> None:
        pairs = list(_pairs(graph))
        if self.activations:
            for pair, largest in zip(pairs, _reached(pairs, context), strict=True):
                _move(pair, largest**self.activations, rewriter)
        else:
            for _ in range(PASSES):
                if not sum(_equalize(pair, rewriter) for pair in pairs):
                    break
        eliminate_dead_code(graph, rewriter)


def _reached(pairs: Sequence[Pair], context: Context) -> list[Array]:
    """The largest activation of each channel between two layers, 1 in those without any."""
    if not pairs:
        return []
    values = [value for pair in pairs if (value := pair.second.input(0)) is not None]
    graph = pairs[0].first.graph
    assert graph is not None
    interpreter = Interpreter(graph, values)
    largest = [np.zeros(_channels(pair.first)) for pair in pairs]
    for batch in context.batches("equalize"):
        for index, array in enumerate(interpreter.run(batch)):
            found = np.abs(_by_channel(pairs[index], array)).max((0, 2))
            largest[index] = np.maximum(largest[index], found)
    return [np.where(each > 0, each, 1.0) for each in largest]


def _by_channel(pair: Pair, array: Array) -> Array:
    """Activations (samples, *shape) as (rows, channels, elements)."""
    channels = _channels(pair.first)
    if pair.first.op_type == "Conv":
        return array.reshape(len(array), channels, -1)
    return array.reshape(-1, channels, 1)


def _pairs(graph: Graph) -> Iterator[Pair]:
    for op in graph.ops:
        if _is_layer(op) and (op.op_type == "MatMul" or op.attrs.get("group", 1) == 1):
            pair = _ending_in(op)
            if pair is not None:
                yield pair


def _ending_in(second: Onnx) -> Pair | None:
    behind: list[Onnx] = []
    value = second.input(0)
    while value is not None and value.used_once and isinstance(value.owner, Onnx):
        op = value.owner
        if _is_layer(op):
            return _pair(op, behind[::-1], second)
        behind.append(op)
        value = op.input(0)
    return None


def _pair(first: Onnx, between: list[Onnx], second: Onnx) -> Pair | None:
    """The pair, if all that stands between the layers keeps channels and their scale."""
    conv = first.op_type == "Conv"
    shape, size = first.result.shape, 1
    for op in between:
        if is_onnx(op, "Add", "PRelu"):
            kept = constant_of(op.input(1)) is not None and op.result.shape == shape
        elif is_onnx(op, "Flatten"):
            kept = conv and op.attrs.get("axis", 1) == 1 and op is between[-1]
            size = math.prod(shape[2:])
        else:
            kept = is_onnx(op, *HOMOGENEOUS) or (conv and is_onnx(op, *POOLING))
        if not kept:
            return None
        shape = op.result.shape
    if _inputs(second) != size * _channels(first):
        return None
    return Pair(first, tuple(op for op in between if op.op_type == "Add"), second)


def _is_layer(op: Op) -> TypeGuard[Onnx]:
    weights = constant_of(op.input(1)) if is_onnx(op, *LAYERS) and isinstance(op, Onnx) else None
    if weights is None or not isinstance(op, Onnx):
        return False
    return op.input(2) is None and (op.op_type == "Conv" or weights.ndim == 2)


def _channels(op: Onnx) -> int:
    return _weights(op).shape[0 if op.op_type == "Conv" else -1]


def _inputs(op: Onnx) -> int:
    return _weights(op).shape[1 if op.op_type == "Conv" else -2]


def _weights(op: Onnx) -> Array:
    weights = constant_of(op.input(1))
    assert weights is not None
    return weights


def _equalize(pair: Pair, rewriter: Rewriter) -> bool:
    first, second = _weights(pair.first), _weights(pair.second)
    channels = _channels(pair.first)
    of_first = _largest(first, 0 if pair.first.op_type == "Conv" else first.ndim - 1)
    of_second = _largest(second, 1 if pair.second.op_type == "Conv" else second.ndim - 2)
    of_second = of_second.reshape(channels, -1).max(1)
    used = (of_first > 0) & (of_second > 0)
    s = np.sqrt(np.where(used, of_first, 1.0) / np.where(used, of_second, 1.0))
    if np.abs(np.log(s)).max(initial=0.0) < SETTLED:
        return False
    _move(pair, s, rewriter)
    return True


def _move(pair: Pair, s: Array, rewriter: Rewriter) -> None:
    """Divide what the first layer makes of each channel by s, and let the second one make up."""
    first, second = _weights(pair.first), _weights(pair.second)
    channels = _channels(pair.first)
    axis = 0 if pair.first.op_type == "Conv" else first.ndim - 1
    _put(pair.first, first / _along(s, axis, first.ndim), rewriter)
    for op in pair.added:
        constant = constant_of(op.input(1))
        assert constant is not None
        rank = len(op.result.shape)
        axis = 1 if pair.first.op_type == "Conv" else rank - 1
        behind = s.reshape(-1, *(1,) * (rank - 1 - axis))
        _put(op, constant / behind, rewriter)
    repeated = np.repeat(s, _inputs(pair.second) // channels)
    axis = 1 if pair.second.op_type == "Conv" else second.ndim - 2
    _put(pair.second, second * _along(repeated, axis, second.ndim), rewriter)


def _largest(weights: Array, axis: int) -> Array:
    others = tuple(i for i in range(weights.ndim) if i != axis)
    return np.asarray(np.abs(weights).max(others), np.float64)


def _along(vector: Array, axis: int, rank: int) -> Array:
    return vector.reshape([-1 if i == axis else 1 for i in range(rank)])


def _put(op: Onnx, array: Array, rewriter: Rewriter) -> None:
    """Let an operation read another constant as its second operand."""
    old = op.inputs[1]
    assert old is not None
    new: Value = rewriter.insert(Constant(array.astype(np.float32)), before=op, loc=op.loc).result
    rewriter.replace_uses(old, new, only=[op])
