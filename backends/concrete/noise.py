"""A circuit as the optimizer sees it: how noise grows between bootstraps.

The same emission that writes a circuit's text is run with a writer that keeps, instead of lines,
one node for each operation that changes noise or precision. Noise is followed as by Concrete:
tensor by tensor, the worst element for all, operands taken for independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from lutra.backends.concrete.emission import EMISSION
from lutra.backends.concrete.emitter import Emitter
from lutra.backends.concrete.mlir import Clear, Ref, Writer, product_shape
from lutra.backends.concrete.options import Widths
from lutra.backends.concrete.widths import encodings
from lutra.ir.core import Graph, Op, dependencies
from lutra.ir.decompose import decomposed
from lutra.ir.types import Ints, Shape

Kind = Literal["input", "zero", "sum", "max", "cast", "look-up"]


@dataclass(frozen=True)
class Node:
    """One step: what it reads, by number, and the bits that its result is encoded in.

    growth: factor on the variance (`sum`).
    count: bootstraps (`look-up`), of operation number `op`.
    rounding: number of the exact rounding that a look-up belongs to, 0 for none.
    """

    kind: Kind
    inputs: tuple[int, ...]
    bits: int
    growth: float = 1.0
    count: int = 0
    op: int = 0
    rounding: int = 0


@dataclass(frozen=True)
class NoiseGraph:
    """Steps in order, the numbers of those that are outputs, and the operations that they are of.

    `ops` are the circuit's operations in order, of a copy if some had to be decomposed.
    """

    nodes: tuple[Node, ...]
    outputs: tuple[int, ...]
    ops: tuple[Op, ...]


def noise_graph(circuit: Graph, widths: Widths = "needed") -> NoiseGraph:
    """The noise of an integer circuit as backend `concrete` emits it."""
    circuit = decomposed(circuit)
    nodes = tuple(circuit.ops)
    writer = _Recorder()
    emitter = Emitter(encodings(circuit, widths))
    emitter.writer = writer
    live = {*circuit.inputs, circuit.terminator, *dependencies(circuit.outputs)}
    for writer.at, node in enumerate(nodes):
        ref = EMISSION[type(node)](emitter, node) if node in live else None
        if ref is not None:
            emitter.refs[node.result] = ref
    outputs = tuple(writer.node(emitter.ref(value)) for value in circuit.outputs)
    return NoiseGraph(tuple(writer.nodes), outputs, nodes)


class _Recorder(Writer):
    """Keeps steps instead of lines. Tensors that hold equal things are one, as in the text."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes: list[Node] = []
        self._roundings = 0
        self._refs: dict[object, tuple[str, int]] = {}

    def node(self, x: Ref) -> int:
        """Number of the step that made a tensor."""
        return int(x.name.partition("/")[0])

    def _step(self, key: object, to: Ref, node: Node) -> Ref:
        """The tensor that a new step makes, or the one that an equal step made before."""
        if key not in self._refs:
            self._refs[key] = (str(len(self.nodes)), len(self.nodes))
            self.nodes.append(replace(node, op=self.at))
        return replace(to, name=self._refs[key][0])

    def _moved(self, x: Ref, key: object, shape: Shape) -> Ref:
        """Elements of x in other places: no step."""
        name, _ = self._refs.setdefault(
            (x.name, key, shape), (f"{self.node(x)}/{len(self._refs)}", 0)
        )
        return Ref(name, shape, x.bits)

    def _grown(self, name: str, x: Ref, c: Ints | Clear, shape: Shape, square: float) -> Ref:
        key = (name, x.name, shape, _key(c))
        return self._step(
            key, Ref("", shape, x.bits), Node("sum", (self.node(x),), x.bits, max(1.0, square))
        )

    def _joined(self, kind: Kind, name: object, xs: Sequence[Ref], shape: Shape) -> Ref:
        key = (name, *(x.name for x in xs), shape)
        bits = xs[0].bits
        return self._step(
            key, Ref("", shape, bits), Node(kind, tuple(self.node(x) for x in xs), bits)
        )

    # --- linear ---------------------------------------------------------------------------------
    def add(self, x: Ref, y: Ref) -> Ref:
        return self._joined("sum", "add", [x, y], np.broadcast_shapes(x.shape, y.shape))

    def sub(self, x: Ref, y: Ref) -> Ref:
        return self._joined("sum", "sub", [x, y], np.broadcast_shapes(x.shape, y.shape))

    def neg(self, x: Ref) -> Ref:
        return self._moved(x, "neg", x.shape)

    def add_clear(self, x: Ref, c: Ints | Clear) -> Ref:
        if not isinstance(c, Clear) and not np.any(c):
            return x
        return self._moved(x, ("add", _key(c)), np.broadcast_shapes(x.shape, c.shape))

    def sub_clear(self, x: Ref, c: Clear) -> Ref:
        return self._moved(x, ("sub", _key(c)), np.broadcast_shapes(x.shape, c.shape))

    def mul_clear(self, x: Ref, c: Ints | Clear) -> Ref:
        residues = _residues(c, x.bits)
        return self._grown("mul", x, c, x.shape, float((residues**2).max(initial=0.0)))

    def sum(self, x: Ref, axes: Sequence[int]) -> Ref:
        shape = tuple(1 if axis in axes else size for axis, size in enumerate(x.shape))
        terms = np.prod(x.shape) / np.prod(shape)
        return self._grown("sum", x, np.array(axes), shape, float(terms))

    def matmul(self, x: Ref, w: Ints | Clear) -> Ref:
        shape = product_shape(x.shape, w.shape)
        return self._grown("matmul", x, w, shape, _largest(_residues(w, x.bits), -2))

    def matmul_from_left(self, c: Clear, x: Ref) -> Ref:
        shape = product_shape(c.shape, x.shape)
        return self._grown("from left", x, c, shape, _largest(_residues(c, x.bits), -1))

    def conv2d(
        self, x: Ref, w: Ints, strides: Sequence[int], dilations: Sequence[int], group: int
    ) -> Ref:
        sizes = zip(x.shape[2:], w.shape[2:], strides, dilations, strict=True)
        out = tuple((n - (k - 1) * d - 1) // s + 1 for n, k, s, d in sizes)
        name = f"conv {list(strides)} {list(dilations)} {group}"
        square = _largest(_residues(w, x.bits).reshape(len(w), -1), 1)
        return self._grown(name, x, w, (x.shape[0], w.shape[0], *out), square)

    # --- movement -------------------------------------------------------------------------------
    def reshape(self, x: Ref, shape: Shape) -> Ref:
        return x if shape == x.shape else self._moved(x, "reshape", shape)

    def transpose(self, x: Ref, perm: Sequence[int]) -> Ref:
        return self._moved(x, ("transpose", *perm), tuple(x.shape[axis] for axis in perm))

    def slice(self, x: Ref, slices: Sequence[slice]) -> Ref:
        ranges = [range(*part.indices(n)) for part, n in zip(slices, x.shape, strict=True)]
        return self._moved(x, ("slice", *ranges), tuple(map(len, ranges)))

    def insert(self, x: Ref, into: Ref, at: Sequence[int]) -> Ref:
        return self._joined("max", ("insert", *at), [x, into], into.shape)

    def gather(self, x: Ref, indices: Ints) -> Ref:
        return self._moved(x, indices.tobytes(), indices.shape or (1,))

    def concat(self, xs: Sequence[Ref], axis: int) -> Ref:
        shape = list(xs[0].shape)
        shape[axis] = sum(x.shape[axis] for x in xs)
        return self._joined("max", ("concat", axis), xs, tuple(shape))

    def broadcast(self, x: Ref, shape: Shape) -> Ref:
        return self._moved(x, "broadcast", shape)

    def constant(self, shape: Shape, c: Ints | Clear, bits: int) -> Ref:
        key = ("constant", shape, bits, _key(c))
        return self._step(key, Ref("", shape, bits), Node("zero", (), bits))

    # --- precision and tables -------------------------------------------------------------------
    def reinterpret(self, x: Ref, bits: int) -> Ref:
        if bits == x.bits:
            return x
        to = Ref("", x.shape, bits)
        return self._step(("cast", x.name, bits), to, Node("cast", (self.node(x),), bits))

    def round(self, x: Ref, lsbs: int, exact: bool) -> Ref:
        if not exact:
            return self.reinterpret(x, x.bits - lsbs)
        self._roundings += 1
        for _ in range(lsbs):
            x = self._truncated(x)
        return x

    def _truncated(self, x: Ref) -> Ref:
        """x without its lowest bit, which a bootstrap of the bit alone finds."""
        bits, count = x.bits, int(np.prod(x.shape))
        top = self.reinterpret(self.mul_clear(x, np.array([1 << bits])), 0)
        lowest = self._step(
            ("bit", top.name),
            Ref("", x.shape, bits),
            Node("look-up", (self.node(top),), bits, count=count, rounding=self._roundings),
        )
        return self.reinterpret(self.sub(x, lowest), bits - 1)

    def lookup(self, x: Ref, table: Ints, bits: int) -> Ref:
        node = Node("look-up", (self.node(x),), bits, count=int(np.prod(x.shape)))
        key = ("look-up", x.name, table.shape, table.tobytes(), bits)
        return self._step(key, Ref("", x.shape, bits), node)

    def argument(self, x: Ref) -> Ref:
        return self._step(("input", x.name), replace(x, signed=False), Node("input", (), x.bits))


def _key(c: Ints | Clear) -> object:
    """What tells clear integers apart."""
    return c.name if isinstance(c, Clear) else (c.shape, c.tobytes())


def _residues(w: Ints | Clear, bits: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Weights as floats, as they are written for an encoding of so many bits.

    Of those that are known at run time only, the largest magnitude that they may have.
    """
    if isinstance(w, Clear):
        return np.full(w.shape, float(w.reach))
    half = 1 << bits
    if np.abs(w).max(initial=0) > half:
        w = (w + half) % (2 * half) - half
    return w.astype(np.float64)


def _largest(weights: np.ndarray[tuple[int, ...], np.dtype[np.float64]], axis: int) -> float:
    return float((weights**2).sum(axis).max(initial=0.0))
