"""Random well-typed graphs: strategies for hypothesis."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lutra.ir import ops
from lutra.ir.core import Graph, Op, Secrecy, Value
from lutra.ir.rewriter import Rewriter
from lutra.ir.rounding import ROUNDINGS
from lutra.ir.types import Array, Int, Ints, Shape, Tensor

MAX_SIZE = 64
"""Elements of the largest value in a random graph."""
MAX_BITS = 24
"""Bits of the widest value in a random graph."""
TABLE_BITS = 6
"""Bits of the widest input of a look-up in a random graph."""

Pool: TypeAlias = Sequence[Value]
Maker: TypeAlias = Callable[[st.DrawFn, Value, Pool], Op | None]

INTEGER_OPS: dict[str, Maker] = {}
"""By operation: draws one that reads the given value, and others of the pool; None if it cannot."""

SHAPES: st.SearchStrategy[Shape] = st.one_of(
    hnp.array_shapes(min_dims=0, max_dims=4, max_side=3).filter(lambda s: math.prod(s) <= MAX_SIZE),
    st.tuples(st.just(1), st.sampled_from([1, 2, 4]), st.integers(1, 6)),
    st.tuples(st.integers(1, 2), st.sampled_from([1, 2]), st.integers(2, 5), st.integers(1, 3)),
)


# --- numbers and shapes -------------------------------------------------------------------------
def arrays(lo: int, hi: int, shape: Shape) -> st.SearchStrategy[Ints]:
    return hnp.arrays(np.int64, shape, elements=st.integers(lo, hi))


def ranges(lo: int = -9, hi: int = 9) -> st.SearchStrategy[tuple[int, int]]:
    """lo <= a <= b <= hi."""
    pair = st.tuples(st.integers(lo, hi), st.integers(lo, hi))
    return pair.map(lambda p: (min(p), max(p)))


@st.composite
def parts_of(draw: st.DrawFn, shape: Shape) -> Shape:
    """A shape that broadcasts to `shape`."""
    tail = shape[draw(st.integers(0, len(shape))) :]
    return tuple(size if draw(st.booleans()) else 1 for size in tail)


def _pair(draw: st.DrawFn, x: Value, pool: Pool, broadcast: bool = True) -> Value:
    """Another value of the pool, or x again, that may be combined with x elementwise."""

    def fits(y: Value) -> bool:
        if y.shape == x.shape:
            return True
        try:
            return broadcast and math.prod(np.broadcast_shapes(x.shape, y.shape)) <= MAX_SIZE
        except ValueError:
            return False

    return draw(st.sampled_from([y for y in pool if fits(y)]))


# --- one integer operation each -----------------------------------------------------------------
def maker(make: Maker) -> Maker:
    INTEGER_OPS[make.__name__.strip("_")] = make
    return make


@maker
def matmul(draw: st.DrawFn, x: Value, pool: Pool) -> Op | None:
    if not x.shape:
        return None
    lead = draw(parts_of(x.shape[:-2])) if len(x.shape) > 2 else ()
    return ops.MatMul(x, draw(arrays(-4, 4, (*lead, x.shape[-1], draw(st.integers(1, 3))))))


@maker
def matmul_values(draw: st.DrawFn, x: Value, pool: Pool) -> Op | None:
    """Of x and another value, transposed where only that fits: an encrypted one, then."""
    fitting = [y for y in pool if _multiplies(x.shape, y.shape)]
    turned = [y for y in pool if not y.clear and _multiplies(x.shape, _turned(y.shape))]
    if not fitting and not turned:
        return None
    y = draw(st.sampled_from(fitting or turned))
    if not fitting:
        rank = len(y.shape)
        y = ops.Transpose(y, (*range(rank - 2), rank - 1, rank - 2)).result
    return ops.MatMulValues(x, y)


def _turned(shape: Shape) -> Shape:
    return (*shape[:-2], *reversed(shape[-2:]))


def _multiplies(x: Shape, y: Shape) -> bool:
    if min(len(x), len(y)) < 2 or x[-1] != y[-2]:
        return False
    try:
        lead = np.broadcast_shapes(x[:-2], y[:-2])
    except ValueError:
        return False
    return math.prod((*lead, *x[-2:], y[-1])) <= MAX_SIZE


@maker
def conv(draw: st.DrawFn, x: Value, pool: Pool) -> Op | None:
    if len(x.shape) not in (3, 4, 5):
        return None
    channels, *space = x.shape[1:]
    group = draw(st.sampled_from([g for g in (1, 2, 3, 4) if channels % g == 0]))
    kernel = [draw(st.integers(1, min(3, size))) for size in space]
    dilations = [
        draw(st.integers(1, (size - 1) // (k - 1) if k > 1 else 2))
        for size, k in zip(space, kernel, strict=True)
    ]
    strides = [draw(st.integers(1, 3)) for _ in space]
    shape = (group * draw(st.integers(1, 2)), channels // group, *kernel)
    return ops.Conv(x, draw(arrays(-4, 4, shape)), tuple(strides), tuple(dilations), group)


@maker
def add(draw: st.DrawFn, x: Value, pool: Pool) -> Op:
    return ops.Add(x, _pair(draw, x, pool))


@maker
def sub(draw: st.DrawFn, x: Value, pool: Pool) -> Op:
    return ops.Sub(x, _pair(draw, x, pool))


@maker
def neg(draw: st.DrawFn, x: Value, pool: Pool) -> Op:
    return ops.Neg(x)


@maker
def add_clear(draw: st.DrawFn, x: Value, pool: Pool) -> Op:
    return ops.AddClear(x, draw(arrays(-5, 5, draw(parts_of(x.shape)))))


@maker
def mul_clear(draw: st.DrawFn, x: Value, pool: Pool) -> Op:
    return ops.MulClear(x, draw(arrays(-5, 5, draw(parts_of(x.shape)))))


@maker
def halve(draw: st.DrawFn, x: Value, pool: Pool) -> Op:
    return ops.Halve(ops.MulClear(x, np.array(2 * draw(st.integers(-2, 2)))).result)


@maker
def sum_(draw: st.DrawFn, x: Value, pool: Pool) -> Op:
    axes = [axis for axis in range(len(x.shape)) if draw(st.booleans())]
    return ops.Sum(x, tuple(axes), draw(st.booleans()))


@maker
def reshape(draw: st.DrawFn, x: Value, pool: Pool) -> Op:
    rest, shape = math.prod(x.shape), []
    for _ in range(draw(st.integers(0, 3))):
        shape.append(draw(st.sampled_from([n for n in range(1, rest + 1) if rest % n == 0])))
        rest //= shape[-1]
    return ops.Reshape(x, (*shape, rest))


@maker
def transpose(draw: st.DrawFn, x: Value, pool: Pool) -> Op:
    return ops.Transpose(x, tuple(draw(st.permutations(range(len(x.shape))))))


@maker
def slice_(draw: st.DrawFn, x: Value, pool: Pool) -> Op:
    parts = []
    for size in x.shape:
        first, last = draw(ranges(0, size - 1))
        step = draw(st.integers(1, 2))
        backwards = (last, first - 1 if first else -size - 1, -step)
        parts.append(draw(st.sampled_from([(first, last + 1, step), backwards])))
    starts, stops, steps = zip(*parts, strict=True) if parts else ((), (), ())
    return ops.Slice(x, starts, stops, steps)


@maker
def gather(draw: st.DrawFn, x: Value, pool: Pool) -> Op:
    return ops.Gather(x, draw(arrays(0, math.prod(x.shape) - 1, draw(SHAPES))))


@maker
def pad(draw: st.DrawFn, x: Value, pool: Pool) -> Op | None:
    before, after = (tuple(draw(st.integers(0, 1)) for _ in x.shape) for _ in range(2))
    return ops.Pad(x, before, after, draw(st.integers(-3, 3)))


@maker
def broadcast(draw: st.DrawFn, x: Value, pool: Pool) -> Op:
    lead = draw(st.sampled_from([(), (1,), (2,)])) if len(x.shape) < 5 else ()
    return ops.Broadcast(x, (*lead, *(s if s > 1 else draw(st.integers(1, 3)) for s in x.shape)))


@maker
def concat(draw: st.DrawFn, x: Value, pool: Pool) -> Op | None:
    if not x.shape:
        return None
    axis = draw(st.integers(0, len(x.shape) - 1))

    def rest(value: Value) -> Shape:
        return value.shape[:axis] + (-1,) + value.shape[axis + 1 :]

    others = st.sampled_from([v for v in pool if len(v.shape) > axis and rest(v) == rest(x)])
    return ops.Concat((x, *draw(st.lists(others, max_size=2))), axis)


@maker
def lookup(draw: st.DrawFn, x: Value, pool: Pool) -> Op:
    excess = x.int_type.bits - TABLE_BITS
    if excess > 0 or draw(st.booleans()):
        x = ops.Round(x, max(0, excess) + draw(st.integers(1, 2)), draw(st.booleans())).result
    lo, hi = x.int_type.min, x.int_type.max
    n = 1 << max((hi - lo).bit_length(), draw(st.integers(1, 3)))
    table = draw(arrays(-20, 20, (*draw(parts_of(x.shape)), n)))
    return ops.Lookup(x, draw(st.integers(hi - n + 1, lo)), table)


@maker
def max_(draw: st.DrawFn, x: Value, pool: Pool) -> Op:
    return ops.Max(x, _pair(draw, x, pool, broadcast=False))


@maker
def mul(draw: st.DrawFn, x: Value, pool: Pool) -> Op:
    return ops.Mul(x, _pair(draw, x, pool, broadcast=False))


@maker
def assume(draw: st.DrawFn, x: Value, pool: Pool) -> Op:
    lo, hi = x.int_type.min, x.int_type.max
    bounds = draw(arrays(lo - 1, hi + 1, (2, *draw(parts_of(x.shape)))))
    return ops.Assume(x, bounds.min(0), bounds.max(0))


@maker
def int_constant(draw: st.DrawFn, x: Value, pool: Pool) -> Op:
    return ops.IntConstant(draw(arrays(-9, 9, draw(SHAPES))))


# --- graphs -------------------------------------------------------------------------------------
def _small(op: Op) -> bool:
    return all(
        math.prod(value.shape) <= MAX_SIZE and value.int_type.bits <= MAX_BITS
        for value in op.results
    )


def _grow(
    draw: st.DrawFn, rewriter: Rewriter, pool: list[Value], most: int, kinds: Sequence[str]
) -> None:
    """Append up to `most` random integer operations on values of the pool, which takes them in."""
    for _ in range(draw(st.integers(1, most))):
        op = INTEGER_OPS[draw(st.sampled_from(kinds))](draw, draw(st.sampled_from(pool)), pool)
        if op is not None and _small(op) and op.secrecy() is not Secrecy.CLEAR:
            loc = draw(st.sampled_from([(), ("/fc/Gemm",), ("a", 'b "c"')]))
            pool.append(rewriter.insert(op, loc=loc).result)


@st.composite
def integer_graphs(
    draw: st.DrawFn,
    *,
    most: int = 8,
    kinds: Sequence[str] = tuple(INTEGER_OPS),
    shapes: st.SearchStrategy[Shape] = SHAPES,
    reach: int = 9,
) -> Graph:
    """A circuit of up to `most` operations on one or two inputs within [-reach, reach].

    The second input may be clear. What depends on it alone would be the client's, and is left out.
    """
    graph = Graph()
    rewriter = Rewriter(graph)
    clear = (False, draw(st.booleans()))
    pool = [
        rewriter.input(name, Int.of(draw(shapes), *draw(ranges(-reach, reach))), clear[i])
        for i, name in enumerate(("x", "y")[: draw(st.integers(1, 2))])
    ]
    _grow(draw, rewriter, pool, most, kinds)
    rewriter.returns([pool[-1], *draw(st.lists(st.sampled_from(pool), max_size=2))])
    return graph


def _floats(shape: Shape, lo: float = -4.0, hi: float = 4.0) -> st.SearchStrategy[Array]:
    return hnp.arrays(np.float32, shape, elements=st.floats(lo, hi, width=32))


def _onnx(draw: st.DrawFn, x: Value) -> Op:
    """An elementwise ONNX node, or what surrounds one."""
    kinds = ("Relu", "Neg", "Tanh", "LeakyRelu", "Clip", "Add", "Mul", "Observe")
    kind = draw(st.sampled_from(kinds))
    if kind == "Observe":
        return ops.Observe(x, -1.5, draw(st.floats(-1.5, 1e6)))
    if kind == "LeakyRelu":
        return ops.Onnx.make(kind, [x], alpha=draw(st.sampled_from([0.1, 0.25])))
    if kind == "Clip":
        return ops.Onnx.make(kind, [x, None, ops.Constant(np.array(2, np.float32)).result])
    if kind in ("Add", "Mul"):
        other = ops.Constant(draw(_floats(draw(parts_of(x.shape))))).result
        return ops.Onnx.make(kind, [x, draw(st.sampled_from([x, other]))])
    return ops.Onnx.make(kind, [x])


def _quantize(draw: st.DrawFn, x: Value) -> Op:
    scale = draw(_floats(draw(parts_of(x.shape)), 0.125, 2.0))
    lo, hi = draw(st.sampled_from([(0, 15), (-8, 7), (-3, 3)]))
    zero_point = draw(arrays(lo, hi, draw(parts_of(x.shape))))
    rounding = draw(st.sampled_from(sorted(ROUNDINGS)))
    return ops.Quantize(x, scale, zero_point, lo, hi, rounding)


def _dequantize(draw: st.DrawFn, q: Value) -> Op:
    scale = draw(_floats(draw(parts_of(q.shape)), 0.125, 2.0))
    zero_point = draw(arrays(-9, 9, draw(parts_of(q.shape))))
    return ops.Dequantize(q, scale, zero_point, draw(_floats(draw(parts_of(q.shape)))))


def _chain(draw: st.DrawFn, rewriter: Rewriter, x: Value, name: str) -> Value:
    """x behind up to two float operations."""
    for _ in range(draw(st.integers(0, 2))):
        x = rewriter.insert(_onnx(draw, x), loc=(name,)).result
    return x


@st.composite
def quantized_graphs(draw: st.DrawFn) -> Graph:
    """Integers between quantize and dequantize, floats at both ends and at times in between.

    A second input may be clear.
    """
    graph = Graph()
    rewriter = Rewriter(graph)
    x = _chain(draw, rewriter, rewriter.input("x", Tensor(draw(SHAPES))), "before")
    pool = [rewriter.insert(_quantize(draw, x)).result]
    if draw(st.booleans()):
        m = _chain(draw, rewriter, rewriter.input("m", Tensor(draw(SHAPES)), clear=True), "aside")
        pool.append(rewriter.insert(_quantize(draw, m)).result)
    _grow(draw, rewriter, pool, 3, tuple(INTEGER_OPS))
    for _ in range(draw(st.integers(0, 2))):
        narrow = [value for value in pool if value.int_type.bits <= 2 * TABLE_BITS]
        y = rewriter.insert(_dequantize(draw, draw(st.sampled_from(narrow)))).result
        y = _chain(draw, rewriter, y, "between")
        pool.append(rewriter.insert(_quantize(draw, y)).result)
        _grow(draw, rewriter, pool, 2, tuple(INTEGER_OPS))
    y = rewriter.insert(_dequantize(draw, pool[-1])).result
    y = _chain(draw, rewriter, y, "after")
    rewriter.returns([y], draw(st.sampled_from([(), ("logits",), ("a b",)])))
    return graph


# --- what encryption can afford -----------------------------------------------------------------
BOOTSTRAPPING = ("lookup", "matmul_values", "max", "mul")
LEVELLED = tuple(kind for kind in INTEGER_OPS if kind not in BOOTSTRAPPING)


def few_bits_graphs(*, bootstraps: bool = True) -> st.SearchStrategy[Graph]:
    """Circuits that encryption takes seconds for, each with a bootstrap; or without any."""
    if not bootstraps:
        return integer_graphs(most=6, kinds=LEVELLED)
    made = integer_graphs(most=5, kinds=(*LEVELLED, *BOOTSTRAPPING * 3), reach=3)
    return made.filter(_affordable)


def _affordable(graph: Graph) -> bool:
    """Few bits at every bootstrap, and no result that may be off by one."""
    return any(isinstance(op, ops.Lookup | ops.Max | ops.Mul) for op in graph.ops) and all(
        (not isinstance(op, ops.Lookup) or op.entries <= 16)
        and (not isinstance(op, ops.Round) or (op.exact and op.lsbs < 3))
        and (not isinstance(op, ops.Max) or op.difference().bits <= 5)
        and (not isinstance(op, ops.Mul) or max(v.int_type.bits for v in op.operands) <= 3)
        and (not isinstance(op, ops.MatMulValues) or op.x.clear or op.y.clear)
        for op in graph.ops
    )
