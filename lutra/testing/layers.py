"""Random float networks: strategies for hypothesis."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from hypothesis import strategies as st

from lutra.ir.core import Graph, Module, Value
from lutra.ir.types import Shape
from lutra.testing.nets import Net

MAX_SIZE = 128
"""Elements of the largest value in a random network."""

Layer: TypeAlias = Callable[[st.DrawFn, Net, Value], Value | None]
"""Puts nodes behind a value; None where they do not fit."""

LAYERS: dict[str, Layer] = {}


def layer(function: Layer) -> Layer:
    LAYERS[function.__name__] = function
    return function


def _window(draw: st.DrawFn, x: Value, most: int = 3) -> dict[str, Any] | None:
    """Kernel, strides, dilations and padding that fit x [N, C, *space]."""
    space = len(x.shape) - 2
    kernel = [draw(st.integers(1, most)) for _ in range(space)]
    window: dict[str, Any] = {"kernel_shape": kernel}
    if draw(st.booleans()):
        window["strides"] = [draw(st.integers(1, min(2, k))) for k in kernel]
    auto = draw(st.sampled_from(["NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    if auto in ("NOTSET", "VALID") and draw(st.booleans()):  # all that onnxruntime knows
        window["dilations"] = [draw(st.integers(1, 2)) for _ in range(space)]
    dilations = window.get("dilations", [1] * space)
    pads = [0] * 2 * space
    if auto != "NOTSET":
        window["auto_pad"] = auto
    elif draw(st.booleans()):
        pads = [draw(st.integers(0, (kernel[i % space] - 1) // 2 + 1)) for i in range(2 * space)]
        pads = [min(p, kernel[i % space] - 1) for i, p in enumerate(pads)]
        window["pads"] = pads
    for axis, size in enumerate(x.shape[2:]):
        extent = (kernel[axis] - 1) * dilations[axis] + 1
        if extent > size + pads[axis] + pads[axis + space]:
            return None
    return window


def _ceil(draw: st.DrawFn, window: dict[str, Any]) -> dict[str, Any]:
    """The window, at times with a partial last one; never one that lies in the padding."""
    partial = not {"auto_pad", "pads"} & window.keys() and draw(st.booleans())
    return {**window, "ceil_mode": 1} if partial else window


@layer
def conv(draw: st.DrawFn, net: Net, x: Value) -> Value | None:
    window = _window(draw, x) if len(x.shape) in (3, 4) else None
    if window is None:
        return None
    group = draw(st.sampled_from([g for g in (1, 2, 3) if x.shape[1] % g == 0]))
    channels = group * draw(st.integers(1, 2))
    kernel = tuple(window.pop("kernel_shape"))
    if draw(st.booleans()):
        window["kernel_shape"] = list(kernel)
    if draw(st.booleans()):
        return net.conv(x, channels, kernel, group, **window)
    w = net.weights(channels, x.shape[1] // group, *kernel)
    return net.add("Conv", x, w, group=group, **window)


@layer
def gemm(draw: st.DrawFn, net: Net, x: Value) -> Value | None:
    if len(x.shape) != 2:
        return None
    attrs: dict[str, Any] = {}
    if draw(st.booleans()):
        attrs["alpha"] = draw(st.sampled_from([0.5, -1.0, 2.0]))
    if draw(st.booleans()):
        attrs["beta"] = draw(st.sampled_from([0.5, -1.0, 2.0]))
    if draw(st.booleans()):
        x = net.add("Transpose", x, perm=[1, 0])
        attrs["transA"] = 1
    rows, k = x.shape[::-1] if attrs.get("transA") else x.shape
    columns = draw(st.integers(1, 4))
    w = net.weights(k, columns, terms=k)
    if draw(st.booleans()):
        w, attrs["transB"] = np.ascontiguousarray(w.T), 1
    shape = draw(st.sampled_from([None, (), (1,), (columns,), (1, columns), (rows, 1)]))
    bias = None if shape is None else net.weights(*shape).reshape(shape)
    return net.add("Gemm", x, w, *([] if bias is None else [bias]), **attrs)


def _lead(draw: st.DrawFn, x: Value) -> Shape:
    fits = len(x.shape) < 3 or x.shape[-3] in (1, 2)
    return draw(st.sampled_from([(), (), (2,)])) if fits else ()


@layer
def matmul(draw: st.DrawFn, net: Net, x: Value) -> Value | None:
    k, lead = x.shape[-1], _lead(draw, x)
    shape = draw(st.sampled_from([(k,), (*lead, k, 1), (*lead, k, 3)]))
    return net.add("MatMul", x, net.weights(*shape, terms=k))


@layer
def clear_matmul(draw: st.DrawFn, net: Net, x: Value) -> Value | None:
    k, lead = x.shape[max(0, len(x.shape) - 2)], _lead(draw, x)
    shape = draw(st.sampled_from([(k,), (*lead, 1, k), (*lead, 3, k)]))
    return net.add("MatMul", net.weights(*shape, terms=k), x)


@layer
def batch_norm(draw: st.DrawFn, net: Net, x: Value) -> Value | None:
    return net.batch_norm(x) if len(x.shape) >= 2 else None


@layer
def average_pool(draw: st.DrawFn, net: Net, x: Value) -> Value | None:
    window = _window(draw, x) if len(x.shape) in (3, 4) else None
    if window is None:
        return None
    count = draw(st.integers(0, 1))
    return net.add("AveragePool", x, count_include_pad=count, **_ceil(draw, window))


@layer
def max_pool(draw: st.DrawFn, net: Net, x: Value) -> Value | None:
    window = _window(draw, x, most=2) if len(x.shape) in (3, 4) else None
    if window is None:
        return None
    return net.add("MaxPool", x, **_ceil(draw, window))


@layer
def global_pool(draw: st.DrawFn, net: Net, x: Value) -> Value | None:
    kind = draw(st.sampled_from(["GlobalAveragePool", "GlobalMaxPool"]))
    return net.add(kind, x) if len(x.shape) in (3, 4) and math.prod(x.shape[2:]) <= 9 else None


@layer
def reduce(draw: st.DrawFn, net: Net, x: Value) -> Value | None:
    kind, keepdims = draw(st.sampled_from(["ReduceMean", "ReduceSum"])), draw(st.integers(0, 1))
    axes = draw(st.lists(st.integers(-len(x.shape), -1), unique=True, max_size=2))
    noop = draw(st.integers(0, 1))
    if not axes and draw(st.booleans()):
        return net.add(kind, x, keepdims=keepdims, noop_with_empty_axes=noop)
    operand = np.array(axes, dtype=np.int64)
    return net.add(kind, x, operand, keepdims=keepdims, noop_with_empty_axes=noop)


@layer
def reshape(draw: st.DrawFn, net: Net, x: Value) -> Value | None:
    kind = draw(st.sampled_from(["Flatten", "Reshape", "Squeeze", "Unsqueeze", "Identity"]))
    if kind == "Flatten":
        return net.add("Flatten", x, axis=draw(st.integers(0, len(x.shape))))
    if kind == "Reshape":
        size = math.prod(x.shape)
        side = draw(st.sampled_from([d for d in range(1, size + 1) if size % d == 0]))
        shape = draw(st.sampled_from([(side, -1), (1, -1), (1, side, -1), (1, side, -1, 1)]))
        return net.add("Reshape", x, np.array(shape))
    if kind == "Squeeze":
        ones = [axis for axis, size in enumerate(x.shape) if size == 1][1:]
        return net.add("Squeeze", x, np.array(ones)) if ones else None
    if kind == "Unsqueeze":
        return net.add("Unsqueeze", x, np.array([draw(st.integers(0, len(x.shape)))]))
    return net.add("Identity", x)


@layer
def transpose(draw: st.DrawFn, net: Net, x: Value) -> Value | None:
    return net.add("Transpose", x, perm=draw(st.permutations(range(len(x.shape)))))


@layer
def slice_(draw: st.DrawFn, net: Net, x: Value) -> Value | None:
    axis = draw(st.integers(0, len(x.shape) - 1))
    start = draw(st.integers(0, x.shape[axis] - 1))
    stop, step = draw(st.sampled_from([(x.shape[axis], 1), (x.shape[axis], 2), (-99, -1)]))
    return net.add("Slice", x, *(np.array([n]) for n in (start, stop, axis, step)))


@layer
def gather(draw: st.DrawFn, net: Net, x: Value) -> Value | None:
    axis = draw(st.integers(0, len(x.shape) - 1))
    reach = st.integers(-x.shape[axis], x.shape[axis] - 1)
    return net.add("Gather", x, np.array(draw(st.lists(reach, min_size=1, max_size=3))), axis=axis)


@layer
def pad(draw: st.DrawFn, net: Net, x: Value) -> Value | None:
    amounts = np.array([draw(st.integers(0, 1)) for _ in range(2 * len(x.shape))])
    if draw(st.booleans()) and min(x.shape) > 1:
        return net.add("Pad", x, amounts, mode=draw(st.sampled_from(["edge", "reflect"])))
    value = draw(st.sampled_from([None, 0.0, 0.5, -1.3]))
    return net.add("Pad", x, amounts, *([] if value is None else [np.array(value, np.float32)]))


@layer
def enlarge(draw: st.DrawFn, net: Net, x: Value) -> Value | None:
    if draw(st.booleans()):
        shape = [2 if size == 1 and draw(st.booleans()) else size for size in x.shape]
        return net.add("Expand", x, np.array(shape, dtype=np.int64))
    return net.add("Tile", x, np.array([draw(st.integers(1, 2)) for _ in x.shape], dtype=np.int64))


@layer
def channel_shuffle(draw: st.DrawFn, net: Net, x: Value) -> Value | None:
    if len(x.shape) != 4 or x.shape[1] % 2:
        return None
    n, c, h, w = x.shape
    apart = net.add("Reshape", x, np.array([n, 2, c // 2, h, w]))
    return net.add("Reshape", net.add("Transpose", apart, perm=[0, 2, 1, 3, 4]), np.array(x.shape))


@layer
def depth_to_space(draw: st.DrawFn, net: Net, x: Value) -> Value | None:
    if len(x.shape) != 4:
        return None
    if x.shape[1] % 4 == 0:
        return net.add("DepthToSpace", x, blocksize=2, mode=draw(st.sampled_from(["DCR", "CRD"])))
    return (
        net.add("SpaceToDepth", x, blocksize=2) if not (x.shape[2] % 2 or x.shape[3] % 2) else None
    )


@layer
def affine(draw: st.DrawFn, net: Net, x: Value) -> Value | None:
    """A constant of any shape that broadcasts with x, on either side."""
    kept = draw(st.integers(0, len(x.shape)))
    shape = tuple(size if draw(st.booleans()) else 1 for size in x.shape[len(x.shape) - kept :])
    if draw(st.integers(0, 5)) == 0:  # also one that enlarges x
        shape = tuple(2 if size == 1 else size for size in x.shape)
    kind = draw(st.sampled_from(["Add", "Sub", "Mul", "Div"]))
    c = net.weights(*shape).reshape(shape)
    if kind in ("Mul", "Div"):
        c = net.positive(*shape).reshape(shape) * draw(st.sampled_from([1.0, 1.0, -1.0]))
        c = np.asarray(c, np.float32)
    pair = (x, c) if kind == "Div" or draw(st.booleans()) else (c, x)
    return net.add(kind, *pair)


@layer
def elementwise(draw: st.DrawFn, net: Net, x: Value) -> Value | None:
    kinds = {
        "Relu": {}, "Sigmoid": {}, "Tanh": {}, "Neg": {}, "Abs": {}, "Softplus": {}, "Erf": {},
        "LeakyRelu": {"alpha": 0.2}, "Elu": {"alpha": 0.7}, "HardSigmoid": {}, "Celu": {},
    }  # fmt: skip
    kind = draw(st.sampled_from([*kinds, "Clip", "PRelu", "Max", "Swish", "Square"]))
    if kind in kinds:
        return net.add(kind, x, **kinds[kind])
    if kind == "Clip":
        return net.add("Clip", x, np.float32(-0.5), np.float32(1))
    if kind == "PRelu":
        channels = (x.shape[1], *(1,) * (len(x.shape) - 2)) if len(x.shape) > 1 else ()
        return net.add("PRelu", x, net.positive(*channels).reshape(channels))
    if kind == "Max":
        return net.add("Max", x, np.array([0.1], np.float32))
    if kind == "Swish":
        return net.add("Mul", x, net.add("Sigmoid", x))
    return net.add("Mul", x, x)


ALL = tuple(LAYERS)
WEIGHTED = ("conv", "gemm", "matmul", "clear_matmul")


@st.composite
def nets(
    draw: st.DrawFn,
    *,
    most: int = 6,
    layers: Sequence[str] = ALL,
    dense: bool = False,
    functions: bool = False,
) -> tuple[Net, Module]:
    """A random network of one or two inputs, ended by a weighted layer if `dense`.

    The second input may be clear.

    functions: half of the layers have an elementwise function behind them.
    """
    shape = draw(
        st.sampled_from([(1, 4), (1, 6), (1, 2, 5), (1, 2, 4, 4), (1, 3, 5, 4), (1, 4, 2, 2)])
    )
    names = ("x", "x2")[: draw(st.integers(1, 2))]
    clear = ("x2",) if draw(st.booleans()) else ()
    net = Net(draw(st.integers(0, 99)), clear, **dict.fromkeys(names, shape))
    pool = list(net.x)
    for _ in range(draw(st.integers(1, most))):
        y = _next(draw, net, pool, layers)
        if functions and y is not None and draw(st.booleans()):
            y = elementwise(draw, net, y)
        if y is not None and 1 <= len(y.shape) <= 5 and 0 < math.prod(y.shape) <= MAX_SIZE:
            pool.append(y)
    last = pool[-1]
    if dense:
        flat = net.add("Reshape", last, np.array([1, -1]))
        last = net.add("MatMul", flat, net.weights(flat.shape[1], 3, terms=flat.shape[1]))
    return net, net.returns(last)


def _next(draw: st.DrawFn, net: Net, pool: Sequence[Value], layers: Sequence[str]) -> Value | None:
    x = draw(st.sampled_from([pool[-1], *pool[-3:]]))
    others = [y for y in pool if y is not x and y.shape == x.shape]
    if draw(st.booleans()) and others:
        return _join(draw, net, x, draw(st.sampled_from(others)))
    return LAYERS[draw(st.sampled_from(layers))](draw, net, x)


@st.composite
def float_graphs(draw: st.DrawFn, *, most: int = 6) -> Graph:
    """Networks of up to `most` layers, many of them weighted, with functions and joins."""
    dense = draw(st.sampled_from([True, True, False]))
    layers = (*ALL, *WEIGHTED * 4)
    _, module = draw(nets(most=most, layers=layers, dense=dense, functions=True))
    return module.main


def _join(draw: st.DrawFn, net: Net, x: Value, y: Value) -> Value:
    kinds = ["Add", "Sub", "Sum", "Concat"]
    if x.clear != y.clear:  # else a product squares few bits in look-ups
        kinds += ["Mul", "MatMul"]
    kind = draw(st.sampled_from(kinds))
    if kind == "MatMul":
        rows = draw(st.sampled_from([1, x.shape[1]]))
        first = net.add("Reshape", x, np.array([rows, -1]))
        return net.add("MatMul", first, net.add("Reshape", y, np.array([-1, rows])))
    if kind == "Concat":
        return net.add("Concat", x, y, axis=draw(st.integers(0, len(x.shape) - 1)))
    return net.add(kind, x, y)
