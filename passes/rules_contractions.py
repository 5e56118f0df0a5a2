"""Canonicalization rules of the float level: transposed convolutions and Einstein sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from lutra.ir import arith
from lutra.ir.core import Value
from lutra.ir.ops import Onnx
from lutra.ir.rewriter import Rewriter
from lutra.passes.flow import is_constant
from lutra.passes.rules import Outcome, no, on
from lutra.passes.rules_linear import constant, node, padding, reshaped


@on("ConvTranspose")
def conv_transpose_to_conv(op: Onnx, rw: Rewriter) -> Outcome:
    """ConvTranspose(x, w) -> Conv(x with zeros between its elements, w turned round)

    Dumoulin and Visin, "A guide to convolution arithmetic for deep learning" (2016), section 4.
    """
    if is_constant(op.result):
        return no("no encrypted value is convolved")
    x, w = op.operands[:2]
    kernel, space, group = w.shape[2:], len(w.shape) - 2, op.attrs.get("group", 1)
    strides = op.attrs.get("strides", [1] * space)
    dilations = op.attrs.get("dilations", [1] * space)
    before = _pads_before(op, kernel)
    reach = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
    x = _spread(x, strides)
    starts = [r - p for r, p in zip(reach, before, strict=True)]
    sizes = zip(op.result.shape[2:], x.shape[2:], reach, starts, strict=True)
    ends = [out + r - size - start for out, size, r, start in sizes]
    x = _padded(x, starts, ends)
    product = node("Conv", x, _turned(w, group), *op.inputs[2:], dilations=dilations, group=group)
    rw.replace(op, product)
    return None


@on("Conv")
def conv_to_matmul(op: Onnx, rw: Rewriter) -> Outcome:
    """Conv(x, w) -> MatMul(what w sees at each place of x, w'), for w that is no constant"""
    x, w = op.operands[:2]
    if is_constant(w) or op.result.clear:
        return no("its weights are constant, or the client convolves")
    if op.input(2) is not None or any(padding(op, x.shape, w.shape[2:])):
        return no("its bias or padding does not stand apart yet")
    if x.shape[0] != 1:
        return no("it convolves several images")
    space, group = len(w.shape) - 2, op.attrs.get("group", 1)
    strides, dilations = (op.attrs.get(name, [1] * space) for name in ("strides", "dilations"))
    places = arith.conv_windows(
        np.arange(prod(x.shape)).reshape(x.shape), w.shape[2:], strides, dilations
    )  # [1, C, *positions, *kernel]
    terms = prod(w.shape[1:])
    places = places.reshape(group, w.shape[1], *places.shape[2:])
    kernel = range(2 + space, 2 + 2 * space)
    places = places.transpose(0, *range(2, 2 + space), 1, *kernel).reshape(group, -1, terms)
    seen = node("Gather", reshaped(x, (-1,)), constant(places, np.int64), axis=0)
    columns = node("Transpose", reshaped(w, (group, w.shape[0] // group, terms)), perm=[0, 2, 1])
    product = node("Transpose", node("MatMul", seen, columns), perm=[0, 2, 1])
    rw.replace(op, reshaped(product, op.result.shape))
    return None


def _pads_before(op: Onnx, kernel: Sequence[int]) -> list[int]:
    """How many elements of the full result are cut off at the start of each spatial axis."""
    space = len(kernel)
    strides = op.attrs.get("strides", [1] * space)
    extra = op.attrs.get("output_padding", [0] * space)
    dilations = op.attrs.get("dilations", [1] * space)
    auto = op.attrs.get("auto_pad", "NOTSET")
    if auto == "NOTSET" and "output_shape" not in op.attrs:
        return list(op.attrs.get("pads", [0] * 2 * space))[:space]
    cut = []
    for axis, size in enumerate(op.result.shape[2:]):
        full = strides[axis] * (op.operands[0].shape[axis + 2] - 1) + extra[axis]
        total = max(0, full + (kernel[axis] - 1) * dilations[axis] + 1 - size)
        cut.append(total // 2 if auto == "SAME_UPPER" else total - total // 2)
    return [0] * space if auto == "VALID" else cut


def _spread(x: Value, strides: Sequence[int]) -> Value:
    """x [N, C, *space] with stride - 1 zeros between its elements."""
    if all(stride == 1 for stride in strides):
        return x
    lead, space = x.shape[:2], x.shape[2:]
    apart = reshaped(x, (*lead, *(part for size in space for part in (size, 1))))
    widths = [part for stride in strides for part in (0, stride - 1)]
    amounts = constant([0] * (len(widths) + 4) + widths, np.int64)
    stuffed = node("Pad", apart, amounts, constant(0, np.float32))
    wide = [size * stride for size, stride in zip(space, strides, strict=True)]
    return _padded(reshaped(stuffed, (*lead, *wide)), [0] * len(wide), [1 - s for s in strides])


def _padded(x: Value, starts: Sequence[int], ends: Sequence[int]) -> Value:
    """x [N, C, *space] with zeros put around it; negative numbers cut elements off."""
    axes = [i + 2 for i in range(len(starts))]
    if min(*starts, *ends) < 0:
        first = [max(0, -start) for start in starts]
        stop = [x.shape[a] + min(0, end) for a, end in zip(axes, ends, strict=True)]
        x = node("Slice", x, *(constant(numbers, np.int64) for numbers in (first, stop, axes)))
    widths = [[0, 0, *(max(0, n) for n in numbers)] for numbers in (starts, ends)]
    if not any(map(any, widths)):
        return x
    return node("Pad", x, constant([*widths[0], *widths[1]], np.int64), constant(0, np.float32))


def _turned(w: Value, group: int) -> Value:
    """Weights [C, O/group, *kernel] of a transposed convolution as [O, C/group, *kernel]."""
    inputs, outputs, *kernel = w.shape
    space = range(3, 3 + len(kernel))
    parts = reshaped(w, (group, inputs // group, outputs, *kernel))
    swapped = node("Transpose", parts, perm=[0, 2, 1, *space])
    whole = reshaped(swapped, (group * outputs, inputs // group, *kernel))
    axes = [i + 2 for i in range(len(kernel))]
    numbers = ([-1] * len(axes), [-(k + 1) for k in kernel], axes, [-1] * len(axes))
    return node("Slice", whole, *(constant(n, np.int64) for n in numbers))


@dataclass(frozen=True)
class Labelled:
    """A value with a letter for each axis, all of them different."""

    value: Value
    letters: str

    def size(self, letters: str) -> int:
        return prod(self.value.shape[self.letters.index(letter)] for letter in letters)

    def summed(self, kept: str) -> Labelled:
        """Summed over the axes of letters that are not kept."""
        axes = [i for i, letter in enumerate(self.letters) if letter not in kept]
        if not axes:
            return self
        total = node("ReduceSum", self.value, constant(axes, np.int64), keepdims=0)
        return Labelled(total, "".join(c for c in self.letters if c in kept))

    def expanded(self, sizes: Mapping[str, int]) -> Labelled:
        """With axes of size 1 repeated to these sizes."""
        shape = tuple(sizes[letter] for letter in self.letters)
        if shape == self.value.shape:
            return self
        return Labelled(node("Expand", self.value, constant(shape, np.int64)), self.letters)

    def ordered(self, letters: str) -> Value:
        """The value with its axes in the order of these letters."""
        if letters == self.letters:
            return self.value
        return node("Transpose", self.value, perm=[self.letters.index(c) for c in letters])


@on("Einsum")
def einsum_to_matmul(op: Onnx, rw: Rewriter) -> Outcome:
    """Einsum(x, w, ...) -> MatMul(x', w'), axes in order and apart: batch, rows, summed, columns"""
    if is_constant(op.result):
        return no("no encrypted value is summed")
    terms, result = _equation(op)
    values = [_diagonal(v, letters) for v, letters in zip(op.operands, terms, strict=True)]
    largest: dict[str, int] = {}
    for labelled in values:
        for letter, size in zip(labelled.letters, labelled.value.shape, strict=True):
            largest[letter] = max(size, largest.get(letter, 1))
    values = [labelled.expanded(largest) for labelled in values]
    # What is clear is multiplied first, so that encrypted values meet fewer times.
    values.sort(key=lambda labelled: not is_constant(labelled.value))
    total = values[0]
    for index, other in enumerate(values[1:], 2):
        later = "".join(labelled.letters for labelled in values[index:])
        total = _contracted(total, other, result + later)
    rw.replace(op, total.summed(result).ordered(result))
    return None


def _equation(op: Onnx) -> tuple[list[str], str]:
    """The letters of each operand's axes and of the result's; an ellipsis gets letters too."""
    equation = op.attrs["equation"].replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    used = set(equation)
    fresh = [chr(c) for c in range(ord("A"), ord("z") + 1) if chr(c).isalpha()]
    fresh = [letter for letter in fresh if letter not in used]
    open_axes = [
        len(v.shape) - len(t.replace("...", "")) for v, t in zip(op.operands, terms, strict=True)
    ]
    most = max((n for n, t in zip(open_axes, terms, strict=True) if "..." in t), default=0)
    dots = "".join(fresh[:most])
    if not arrow:
        letters = sorted(c for c in set(left) if c.isalpha() and left.count(c) == 1)
        right = ("..." if "..." in left else "") + "".join(letters)
    terms = [
        t.replace("...", dots[most - n :] if n else "")
        for t, n in zip(terms, open_axes, strict=True)
    ]
    return terms, right.replace("...", dots)


def _diagonal(value: Value, letters: str) -> Labelled:
    """A value whose letters are all different: of axes with one letter, the diagonal."""
    kept = "".join(dict.fromkeys(letters))
    if kept == letters:
        return Labelled(value, letters)
    index = np.arange(prod(value.shape)).reshape(value.shape)
    found = np.einsum(index, [kept.index(c) for c in letters], [*range(len(kept))])
    flat = reshaped(value, (-1,))
    return Labelled(node("Gather", flat, constant(found, np.int64), axis=0), kept)


def _contracted(x: Labelled, y: Labelled, kept: str) -> Labelled:
    """The product of two values, summed over letters that nothing else reads."""
    if is_constant(x.value) and not is_constant(y.value):
        x, y = y, x
    x = x.summed(kept + y.letters)
    y = y.summed(kept + x.letters)
    both = [c for c in x.letters if c in y.letters]
    batch = "".join(c for c in both if c in kept)
    inner = "".join(c for c in both if c not in kept)
    rows = "".join(c for c in x.letters if c not in y.letters)
    columns = "".join(c for c in y.letters if c not in x.letters)
    lead = [x.size(batch)] if batch else []
    first = reshaped(x.ordered(batch + rows + inner), [*lead, x.size(rows), x.size(inner)])
    second = reshaped(y.ordered(batch + inner + columns), [*lead, y.size(inner), y.size(columns)])
    shape = [x.size(c) for c in batch + rows] + [y.size(c) for c in columns]
    return Labelled(reshaped(node("MatMul", first, second), shape), batch + rows + columns)


CONTRACTION_RULES = (conv_transpose_to_conv, conv_to_matmul, einsum_to_matmul)
