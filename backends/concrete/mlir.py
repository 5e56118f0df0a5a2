"""Writes the dialect of Concrete's compiler: one method for each of its operations in use.

All encrypted tensors are written as `eint<w>`: w bits of message under one padding bit, which makes
arithmetic exact modulo 2^(w+1). Two's complement does the rest: a negative integer is its residue,
whatever the dialect's own notion of sign. A scalar is written as a tensor of one element.

Text is used rather than concrete-python's tracer, which merges operations that differ only in
attributes such as axes or dilations, and derives widths that cannot be told apart from ranges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from lutra.ir.types import Array, Ints, Shape

HIGHEST = 62
"""Bits of the finest encoding."""


@dataclass(frozen=True)
class Ref:
    """A tensor of encrypted integers in the text."""

    name: str
    shape: Shape
    bits: int
    signed: bool = False

    @property
    def type(self) -> str:
        kind = "esint" if self.signed else "eint"
        return f"tensor<{'x'.join(map(str, self.shape))}x!FHE.{kind}<{self.bits}>>"


@dataclass(frozen=True)
class Bootstraps:
    """Bootstraps of one operation of the text: `count` of them read `bits` bits."""

    op: int
    bits: int
    count: int


@dataclass
class Writer:
    """The body of a function under construction.

    `at` numbers the operation of the graph that is being emitted; equal lines are written once.
    """

    at: int = 0
    lines: list[str] = field(default_factory=list)
    bootstraps: list[Bootstraps] = field(default_factory=list)
    _known: dict[str, str] = field(default_factory=dict)

    def _write(self, text: str) -> str:
        if text not in self._known:
            self._known[text] = name = f"%{len(self._known)}"
            self.lines.append(f'{name} = {text} loc("{self.at}")')
        return self._known[text]

    def _apply(self, op: str, args: Sequence[Ref | Clear], to: Ref, attributes: str = "") -> Ref:
        names, types = ", ".join(a.name for a in args), ", ".join(a.type for a in args)
        extra = f" {{{attributes}}}" if attributes else ""
        name = self._write(f'"{op}"({names}){extra} : ({types}) -> {to.type}')
        return Ref(name, to.shape, to.bits, to.signed)

    def clear(self, array: Array, element: str) -> Clear:
        """A constant tensor; a single number stands for an array of equal ones."""
        array = np.asarray(array)
        array = array.reshape(array.shape or (1,))
        uniform = array.size and (array == array.flat[0]).all()
        text = array.flat[0] if uniform else array.tolist()
        type = f"tensor<{'x'.join(map(str, array.shape))}x{element}>"
        return Clear(self._write(f"arith.constant dense<{text}> : {type}"), array.shape, type)

    def weights(self, array: Ints, bits: int) -> Clear:
        """Clear integers for `eint<bits>`, as their smallest residues modulo 2^(bits+1)."""
        half = 1 << bits
        if np.abs(array).max(initial=0) >= half:
            array = (array + half) % (2 * half) - half
        return self.clear(array, f"i{bits + 1}")

    # --- linear ---------------------------------------------------------------------------------
    def add(self, x: Ref, y: Ref) -> Ref:
        return self._apply("FHELinalg.add_eint", [x, y], _broadcast(x, y))

    def sub(self, x: Ref, y: Ref) -> Ref:
        return self._apply("FHELinalg.sub_eint", [x, y], _broadcast(x, y))

    def neg(self, x: Ref) -> Ref:
        return self._apply("FHELinalg.neg_eint", [x], x)

    def add_clear(self, x: Ref, c: Ints | Clear) -> Ref:
        if not isinstance(c, Clear) and not np.any(c):
            return x
        c = self._clear_operand(c, x.bits)
        return self._apply("FHELinalg.add_eint_int", [x, c], _broadcast(x, c))

    def sub_clear(self, x: Ref, c: Clear) -> Ref:
        return self._apply("FHELinalg.sub_eint_int", [x, c], _broadcast(x, c))

    def mul_clear(self, x: Ref, c: Ints | Clear) -> Ref:
        return self._apply("FHELinalg.mul_eint_int", [x, self._clear_operand(c, x.bits)], x)

    def sum(self, x: Ref, axes: Sequence[int]) -> Ref:
        """Sum over at least one axis; they stay with size 1."""
        shape = tuple(1 if axis in axes else size for axis, size in enumerate(x.shape))
        attributes = f"axes = {list(axes)}, keep_dims = true"
        return self._apply("FHELinalg.sum", [x], Ref("", shape, x.bits), attributes)

    def matmul(self, x: Ref, w: Ints | Clear) -> Ref:
        """x [..., M, K] @ w [..., K, N]."""
        to = Ref("", product_shape(x.shape, w.shape), x.bits)
        return self._apply("FHELinalg.matmul_eint_int", [x, self._clear_operand(w, x.bits)], to)

    def matmul_from_left(self, c: Clear, x: Ref) -> Ref:
        """c [..., M, K] @ x [..., K, N]."""
        to = Ref("", product_shape(c.shape, x.shape), x.bits)
        return self._apply("FHELinalg.matmul_int_eint", [c, x], to)

    def _clear_operand(self, c: Ints | Clear, bits: int) -> Clear:
        return c if isinstance(c, Clear) else self.weights(c, bits)

    def conv2d(
        self, x: Ref, w: Ints, strides: Sequence[int], dilations: Sequence[int], group: int
    ) -> Ref:
        """x [N, C, H, W], w [O, C/group, KH, KW]."""
        sizes = zip(x.shape[2:], w.shape[2:], strides, dilations, strict=True)
        out = tuple((n - (k - 1) * d - 1) // s + 1 for n, k, s, d in sizes)
        attributes = (
            f"strides = dense<{list(strides)}> : tensor<2xi64>, "
            f"dilations = dense<{list(dilations)}> : tensor<2xi64>, "
            f"padding = dense<0> : tensor<4xi64>, group = {group} : i64"
        )
        to = Ref("", (x.shape[0], w.shape[0], *out), x.bits)
        return self._apply("FHELinalg.conv2d", [x, self.weights(w, x.bits)], to, attributes)

    # --- movement -------------------------------------------------------------------------------
    def reshape(self, x: Ref, shape: Shape) -> Ref:
        if shape == x.shape:
            return x
        flat = Ref("", (int(np.prod(shape)),), x.bits)
        if len(x.shape) > 1:
            text = f"tensor.collapse_shape {x.name} [{list(range(len(x.shape)))}]"
            flat = Ref(self._write(f"{text} : {x.type} into {flat.type}"), flat.shape, x.bits)
        else:
            flat = x
        if len(shape) == 1:
            return flat
        to = Ref("", shape, x.bits)
        text = f"tensor.expand_shape {flat.name} [{list(range(len(shape)))}]"
        return Ref(self._write(f"{text} : {flat.type} into {to.type}"), shape, x.bits)

    def transpose(self, x: Ref, perm: Sequence[int]) -> Ref:
        to = Ref("", tuple(x.shape[axis] for axis in perm), x.bits)
        return self._apply("FHELinalg.transpose", [x], to, f"axes = {list(perm)}")

    def slice(self, x: Ref, slices: Sequence[slice]) -> Ref:
        ranges = [range(*part.indices(n)) for part, n in zip(slices, x.shape, strict=True)]
        to = Ref("", tuple(map(len, ranges)), x.bits)
        starts, steps = [r.start for r in ranges], [r.step for r in ranges]
        where = f"{starts} {list(to.shape)} {steps}"
        text = f"tensor.extract_slice {x.name}{where} : {x.type} to {to.type}"
        return Ref(self._write(text), to.shape, x.bits)

    def insert(self, x: Ref, into: Ref, at: Sequence[int]) -> Ref:
        """`into` with x in it, its first element at index `at`."""
        where = f"{list(at)} {list(x.shape)} {[1] * len(at)}"
        text = f"tensor.insert_slice {x.name} into {into.name}{where} : {x.type} into {into.type}"
        return Ref(self._write(text), into.shape, x.bits)

    def gather(self, x: Ref, indices: Ints) -> Ref:
        """x of one axis at clear indices of any shape."""
        index = self.clear(indices, "index")
        return self._apply("FHELinalg.fancy_index", [x, index], Ref("", index.shape, x.bits))

    def concat(self, xs: Sequence[Ref], axis: int) -> Ref:
        shape = list(xs[0].shape)
        shape[axis] = sum(x.shape[axis] for x in xs)
        to = Ref("", tuple(shape), xs[0].bits)
        return self._apply("FHELinalg.concat", xs, to, f"axis = {axis} : i64")

    def broadcast(self, x: Ref, shape: Shape) -> Ref:
        if shape == x.shape:
            return x
        return self._apply("FHELinalg.broadcast", [x], Ref("", shape, x.bits))

    def constant(self, shape: Shape, c: Ints | Clear, bits: int) -> Ref:
        """Clear integers c, broadcast to a shape, where encrypted ones are expected."""
        zeros = self._apply("FHE.zero_tensor", [], Ref("", shape, bits))
        return self.add_clear(zeros, c)

    # --- precision and tables -------------------------------------------------------------------
    def reinterpret(self, x: Ref, bits: int) -> Ref:
        """The same ciphertexts read as `bits` bits: an integer v becomes v * 2^(bits - x.bits)."""
        to = Ref("", x.shape, bits)
        return x if bits == x.bits else self._apply("FHELinalg.reinterpret_precision", [x], to)

    def keep_low(self, x: Ref, bits: int) -> Ref:
        """x modulo 2^(bits+1), encoded in `bits` bits."""
        shift = x.bits - bits
        return self.reinterpret(self.mul_clear(x, np.array([1 << shift])), bits) if shift else x

    def round(self, x: Ref, lsbs: int, exact: bool) -> Ref:
        """(x + 2^(lsbs-1)) >> lsbs. Exactly: one bootstrap of 1 bit for each dropped bit."""
        bits = x.bits - lsbs
        if exact:
            to = Ref("", x.shape, bits)
            return self._bootstrap("FHELinalg.round", [x], to, 1, lsbs * int(np.prod(x.shape)))
        # A bootstrap rounds to the nearest index by itself. Half a unit, less a trifle, moves ties
        # up and puts both neighbours of a boundary at the same distance from it.
        half = self.clear(np.array([(1 << (HIGHEST - x.bits - 1)) - 1]), f"i{HIGHEST + 1}")
        fine = self.reinterpret(x, HIGHEST)
        return self.reinterpret(self._apply("FHELinalg.add_eint_int", [fine, half], fine), bits)

    def lookup(self, x: Ref, table: Ints, bits: int) -> Ref:
        """table[..., x] in `bits` bits; leading axes of `table` broadcast against x."""
        to = Ref("", x.shape, bits, signed=bool(table.min() < 0))
        count = int(np.prod(x.shape))
        if table.ndim == 1:
            op, tables = "FHELinalg.apply_lookup_table", [self.clear(table, "i64")]
        else:
            rows, which = np.unique(table.reshape(-1, table.shape[-1]), axis=0, return_inverse=True)
            which = np.broadcast_to(which.reshape(table.shape[:-1]), x.shape)
            op = "FHELinalg.apply_mapped_lookup_table"
            tables = [self.clear(rows, "i64"), self.clear(which, "index")]
        return self._unsigned(self._bootstrap(op, [x, *tables], to, x.bits, count))

    def _bootstrap(
        self, op: str, args: Sequence[Ref | Clear], to: Ref, bits: int, count: int
    ) -> Ref:
        before = len(self.lines)
        result = self._apply(op, args, to)
        if len(self.lines) > before:
            self.bootstraps.append(Bootstraps(self.at, bits, count))
        return result

    def _unsigned(self, x: Ref) -> Ref:
        to = Ref("", x.shape, x.bits)
        return self._apply("FHELinalg.to_unsigned", [x], to) if x.signed else x

    def argument(self, x: Ref) -> Ref:
        """A parameter of the function as the other methods want it."""
        return self._unsigned(x)


@dataclass(frozen=True)
class Clear:
    """A tensor of clear integers in the text: a constant, or a parameter of the function.

    reach: the largest magnitude that the optimizer takes a parameter's integers to have.
    """

    name: str
    shape: Shape
    type: str
    reach: int = 0

    @classmethod
    def parameter(cls, name: str, shape: Shape, bits: int) -> Clear:
        """Integers of so many bits, one of them for the sign."""
        return cls(name, shape, f"tensor<{'x'.join(map(str, shape))}xi{bits}>", 2 ** (bits - 1) - 1)


def _broadcast(x: Ref, y: Ref | Clear) -> Ref:
    return Ref("", np.broadcast_shapes(x.shape, y.shape), x.bits)


def product_shape(x: Shape, y: Shape) -> Shape:
    return (*np.broadcast_shapes(x[:-2], y[:-2]), x[-2], y[-1])
