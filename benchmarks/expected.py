"""How many bootstraps a network needs, counted from its ONNX graph alone.

Nothing here comes from Lutra. Of every value, a mask says which elements the results depend on, for
weights other than 0; it goes from the results backwards, through strides, padding, groups and
movements. What stands behind the last weighted layer, or before the first, is the client's. Then

- an elementwise function is one look-up for each element that is read;
- a maximum over windows is taken along one axis, then along the other: for each window and line one
  maximum less than it has elements that are not padding. Windows of four and more taps, which may
  share, are refused;
- LRN is x * f(sum of x * x) for each element: x * x and f one look-up each, the product two, and
  one more where maxima are taken of it, which need few bits;
- layers, averages, sums, normalization with constants and movements need none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from math import prod
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, numpy_helper
from onnx.reference import ReferenceEvaluator

Mask: TypeAlias = NDArray[np.bool_]
Shape: TypeAlias = tuple[int, ...]

WEIGHTED = ("Conv", "Gemm", "MatMul")
FUNCTIONS = ("Clip", "HardSwish", "Relu", "Sigmoid", "Tanh")
PARALLEL = ("Add", "BatchNormalization", "Dropout", "Identity", "Mul", "Sub", "Sum")
MOVEMENTS = ("Concat", "Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
AVERAGES = ("GlobalAveragePool", "ReduceMean")


def expected(model: onnx.ModelProto) -> Counter[str]:
    """Bootstraps by the operations of a circuit that make them: lookup, max and mul."""
    return _Count(model).run()


class _Count:
    """One walk over a model's nodes, from the last to the first."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.shapes = _shapes(model)
        self.constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        inputs = {v.name for v in model.graph.input} - {t.name for t in model.graph.initializer}
        layers = [node for node in model.graph.node if node.op_type in WEIGHTED]
        behind = _reached(model.graph.node, inputs)
        hidden = _reached(model.graph.node, {n.output[0] for n in layers if n.input[0] in behind})
        before = _leading(model.graph.node, [name for n in layers for name in n.input[:1]])
        self.compared = {n.input[0] for n in model.graph.node if n.op_type == "MaxPool"}
        self.nodes = [n for n in model.graph.node if n.output[0] in behind]
        self.encrypted = {name for name in hidden if name in before}
        self.masks: dict[str, Mask] = {}
        self.counts: Counter[str] = Counter()

    def run(self) -> Counter[str]:
        for node in reversed(self.nodes):
            name = node.output[0]
            if node.op_type in WEIGHTED and name not in self.encrypted:
                self.masks.setdefault(name, np.ones(self.shapes[name], bool))
            wanted = self.masks.get(name)
            if wanted is not None:
                self._visit(node, wanted)
        return +self.counts

    def _visit(self, node: NodeProto, wanted: Mask) -> None:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        for name, mask in self._read(node, attributes, wanted):
            if name in self.encrypted:
                self.masks[name] = self.masks.get(name, False) | mask

    def _read(
        self, node: NodeProto, attributes: Mapping[str, Any], wanted: Mask
    ) -> list[tuple[str, Mask]]:
        """Which elements of its operands a node reads, with its bootstraps counted."""
        x, kind = node.input[0], node.op_type
        hidden = node.output[0] in self.encrypted
        shape = self.shapes[x]
        if kind in FUNCTIONS:
            self.counts["lookup"] += hidden * int(wanted.sum())
            return [(x, wanted)]
        if kind in PARALLEL:
            return [(name, _onto(wanted, self.shapes[name])) for name in node.input if name]
        if kind == "Concat":
            ends = np.cumsum([self.shapes[name][attributes["axis"]] for name in node.input])[:-1]
            return list(zip(node.input, np.split(wanted, ends, attributes["axis"]), strict=True))
        if kind in MOVEMENTS:
            return [(x, self._moved(node, shape, wanted))]
        if kind == "Conv":
            kernel = self.shapes[node.input[1]][2:]
            group = attributes.get("group", 1)
            by_group = wanted.reshape(group, -1, *wanted.shape[2:]).any(1)
            taps = _taps(attributes, kernel, shape[2:])
            read = np.repeat(_windows(by_group, taps, shape[2:]), shape[1] // group, 0)
            return [(x, read[None])]
        if kind == "AveragePool":
            taps = _taps(attributes, attributes["kernel_shape"], shape[2:])
            return [(x, _windows(wanted[0], taps, shape[2:])[None])]
        if kind == "MaxPool":
            taps = _taps(attributes, attributes["kernel_shape"], shape[2:])
            self.counts["max"] += hidden * _maxima(wanted[0], taps, shape[2:])
            return [(x, _windows(wanted[0], taps, shape[2:])[None])]
        if kind == "LRN":
            squares = _neighbours(wanted, attributes["size"])
            compared = node.output[0] in self.compared
            self.counts["lookup"] += hidden * int(squares.sum() + (1 + compared) * wanted.sum())
            self.counts["mul"] += hidden * int(2 * wanted.sum())
            return [(x, squares | wanted)]
        if kind in (*AVERAGES, *WEIGHTED):
            return [(x, np.ones(shape, bool))]
        if hidden:
            raise NotImplementedError(f"{kind} between two layers")
        return []

    def _moved(self, node: NodeProto, shape: Shape, wanted: Mask) -> Mask:
        """Where the elements of a movement's result come from: the node run on an index."""
        index = np.arange(prod(shape)).reshape(shape)
        rest = {name: self.constants[name] for name in node.input[1:] if name in self.constants}
        (moved,) = ReferenceEvaluator(node).run(None, {node.input[0]: index, **rest})
        mask = np.zeros(prod(shape), bool)
        mask[moved[wanted]] = True
        return mask.reshape(shape)


def _shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    known = {
        value.name: tuple(d.dim_value or 1 for d in value.type.tensor_type.shape.dim)
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    return known | {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}


def _reached(nodes: Any, start: set[str]) -> set[str]:
    """All that depends on some values, with them."""
    found = set(start)
    for node in nodes:
        if found & set(node.input):
            found.update(node.output)
    return found


def _leading(nodes: Any, ends: list[str]) -> set[str]:
    """All that some values depend on, with them."""
    found = set(ends)
    for node in reversed(nodes):
        if found & set(node.output):
            found.update(node.input)
    return found


def _onto(mask: Mask, shape: Shape) -> Mask:
    """Of an operand that is broadcast from a shape: where any copy is read."""
    lead = mask.ndim - len(shape)
    mask = mask.any(tuple(range(lead)))
    thin = tuple(i for i, size in enumerate(shape) if size < mask.shape[i])
    return np.asarray(mask.any(thin, keepdims=True))


# --- windows ------------------------------------------------------------------------------------
Taps: TypeAlias = Callable[[int, int], NDArray[np.int64]]


def _taps(attributes: Mapping[str, Any], kernel: Any, sizes: Shape) -> Taps:
    """taps(axis, window): the places within the image that a window covers along an axis."""
    space = len(sizes)
    strides = attributes.get("strides", [1] * space)
    dilations = attributes.get("dilations", [1] * space)
    pads = attributes.get("pads", [0] * 2 * space)
    if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise NotImplementedError("padding of its own choice")

    def taps(axis: int, window: int) -> NDArray[np.int64]:
        places = window * strides[axis] - pads[axis] + np.arange(kernel[axis]) * dilations[axis]
        return np.asarray(places[(places >= 0) & (places < sizes[axis])])

    return taps


def _windows(wanted: Mask, taps: Taps, sizes: Shape) -> Mask:
    """Which places [channels, *sizes] the wanted windows [channels, *counts] read."""
    for axis, size in enumerate(sizes):
        moved = np.moveaxis(wanted, axis + 1, 0)
        read = np.zeros((size, *moved.shape[1:]), bool)
        for window, mask in enumerate(moved):
            read[taps(axis, window)] |= mask
        wanted = np.moveaxis(read, 0, axis + 1)
    return wanted


def _maxima(wanted: Mask, taps: Taps, sizes: Shape) -> int:
    """Maxima of two that the wanted windows [channels, *counts] of an image take."""
    channels = int(wanted.any((1, 2)).sum())
    rows, columns = (np.flatnonzero(wanted.any(axes)) for axes in ((0, 2), (0, 1)))
    if wanted.sum() != channels * len(rows) * len(columns):
        raise NotImplementedError("windows that no rectangle holds")
    down, across = ([taps(a, w) for w in windows] for a, windows in enumerate((rows, columns)))
    if max(map(len, (*down, *across))) > 3:
        raise NotImplementedError("windows that may share maxima")
    lines = [len(np.unique(np.concatenate(places))) for places in (down, across)]
    each = [sum(len(places) - 1 for places in axis) for axis in (down, across)]
    rows_first = each[0] * lines[1] + each[1] * len(rows)
    columns_first = each[1] * lines[0] + each[0] * len(columns)
    return channels * min(rows_first, columns_first)


def _neighbours(wanted: Mask, size: int) -> Mask:
    """Elements of the `size` channels around each wanted one."""
    read = np.zeros_like(wanted)
    channels = wanted.shape[1]
    for channel in range(channels):
        first = max(0, channel - (size - 1) // 2)
        read[:, first : channel + size // 2 + 1] |= wanted[:, channel : channel + 1]
    return read
