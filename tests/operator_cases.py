"""One small network for each operator: a layer, the operator on its results, another layer."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from lutra.ir.core import Module, Value
from lutra.ir.ops import Onnx
from lutra.ir.types import Array, Tensor
from lutra.testing.nets import Net

Case = Callable[[Net, Value], Value]

SHAPE = (1, 2, 3, 4)
IMAGE = (1, 2, 4, 4)


def f(*numbers: float) -> Array:
    return np.array(numbers, np.float32)


def i(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


def unary(kind: str, **attrs: object) -> Case:
    return lambda net, x: net.add(kind, x, **attrs)


def normalized(kind: str, weighted: bool = False, **attrs: object) -> Case:
    """Operators whose types onnx does not tell of single nodes."""

    def case(net: Net, x: Value) -> Value:
        numbers = (net.clear(net.positive(2)), net.clear(net.weights(2))) if weighted else ()
        return net._insert(Onnx((x, *numbers), kind, (Tensor(x.shape),), attrs)).result

    return case


def with_(kind: str, *constants: object, **attrs: object) -> Case:
    return lambda net, x: net.add(kind, x, *constants, **attrs)


def above(kind: str, least: float, *constants: object) -> Case:
    """Of numbers above a bound: elsewhere it is no function of real numbers."""
    return lambda net, x: net.add(kind, net.add("Add", net.add("Abs", x), f(least)), *constants)


def within(kind: str) -> Case:
    """Of numbers between -1 and 1."""
    return lambda net, x: net.add(kind, net.add("Clip", x, np.float32(-0.9), np.float32(0.9)))


def truth(net: Net, x: Value, bound: float = 0.0) -> Value:
    return net.add("Greater", x, f(bound))


def floats(net: Net, x: Value) -> Value:
    return net.add("Cast", x, to=1)


def compared(kind: str) -> Case:
    return lambda net, x: floats(net, net.add(kind, net.add("Round", x), f(0)))


def logic(kind: str) -> Case:
    return lambda net, x: floats(net, net.add(kind, truth(net, x), truth(net, x, 0.5)))


def of_bits(kind: str, *constants: int, **attrs: object) -> Case:
    """Of 8-bit unsigned integers."""

    def case(net: Net, x: Value) -> Value:
        whole = net.add("Cast", net.add("Clip", net.add("Mul", x, f(8)), f(0)[0], f(31)[0]), to=2)
        return floats(net, net.add(kind, whole, *np.array(constants, np.uint8), **attrs))

    return case


def rounded_up(net: Net, x: Value) -> Value:
    return net.add("Mul", x, f(3))


ELEMENTWISE: dict[str, Case] = {
    **{
        kind: unary(kind)
        for kind in (
            *("Abs", "Asinh", "Atan", "Celu", "Cos", "Cosh", "Elu", "Erf", "Exp", "Gelu"),
            *("HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "Neg", "Relu", "Selu", "Shrink"),
            *("Sigmoid", "Sin", "Sinh", "Softplus", "Softsign", "Tanh", "ThresholdedRelu"),
        )
    },
    **{
        kind: lambda net, x, kind=kind: net.add(kind, net.add("Mul", x, f(3)))  # type: ignore
        for kind in ("Ceil", "Floor", "Round", "Sign")
    },
    **{kind: within(kind) for kind in ("Acos", "Asin", "Atanh", "Tan")},
    **{kind: above(kind, 0.5) for kind in ("Log", "Reciprocal", "Sqrt")},
    **{kind: with_(kind, f(0.5, -1.0, 2.0, 1.5)) for kind in ("Add", "Div", "Mul", "PRelu", "Sub")},
    **{kind: with_(kind, f(0.2), f(0.1)) for kind in ("Max", "Mean", "Min", "Sum")},
    **{
        kind: compared(kind)
        for kind in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
    },
    **{kind: logic(kind) for kind in ("And", "Or", "Xor")},
    **{kind: of_bits(kind, 12) for kind in ("BitwiseAnd", "BitwiseOr", "BitwiseXor")},
    "Acosh": above("Acosh", 1.1),
    "BitShift": of_bits("BitShift", 2, direction="RIGHT"),
    "BitwiseNot": of_bits("BitwiseNot"),
    "Cast": lambda net, x: floats(net, net.add("Cast", rounded_up(net, x), to=6)),
    "Clip": with_("Clip", np.float32(-0.5), np.float32(0.75)),
    "IsInf": lambda net, x: floats(
        net, net.add("IsInf", net.add("Reciprocal", net.add("Relu", x)))
    ),
    "IsNaN": lambda net, x: floats(net, net.add("IsNaN", net.add("Sqrt", x))),
    "Mod": with_("Mod", f(1.5), fmod=1),
    "Not": lambda net, x: floats(net, net.add("Not", truth(net, x))),
    "Pow": above("Pow", 0.5, f(1.7)),
    "Where": lambda net, x: net.add("Where", truth(net, x), x, f(0.5)),
}

STRUCTURAL: dict[str, Case] = {
    "Concat": lambda net, x: net.add("Concat", x, net.add("Neg", x), axis=1),
    "DepthToSpace": lambda net, x: net.add(
        "DepthToSpace", net.add("Reshape", x, i(1, 4, 2, 3)), blocksize=2
    ),
    "Expand": lambda net, x: net.add("Expand", net.add("Reshape", x, i(1, 1, 6, 4)), i(1, 2, 6, 4)),
    "Flatten": unary("Flatten", axis=2),
    "Gather": with_("Gather", i(2, 0, -1), axis=3),
    "GatherElements": with_("GatherElements", np.zeros((1, 2, 3, 4), np.int64), axis=1),
    "GatherND": with_("GatherND", i(0, 1)),
    "Identity": unary("Identity"),
    "Pad": with_("Pad", i(0, 0, 1, 0, 0, 0, 0, 2), np.float32(0.3)),
    "Reshape": with_("Reshape", i(1, 4, 6)),
    "Resize": with_("Resize", None, f(1, 1, 2, 1)),
    "Slice": with_("Slice", i(-1, 0), i(-99, 3), i(3, 2), i(-2, 2)),
    "SpaceToDepth": lambda net, x: net.add(
        "SpaceToDepth", net.add("Reshape", x, i(1, 1, 4, 6)), blocksize=2
    ),
    "Split": lambda net, x: net.split(x, [1, 3], 3)[1],
    "Squeeze": with_("Squeeze", i(0)),
    "Tile": with_("Tile", i(1, 1, 2, 1)),
    "Transpose": unary("Transpose", perm=[0, 3, 1, 2]),
    "Unsqueeze": with_("Unsqueeze", i(1)),
}


def matrix(net: Net, *shape: int) -> Array:
    return net.weights(*shape, terms=shape[-2] if len(shape) < 3 else prod(shape[1:]))


LINEAR: dict[str, Case] = {
    "AveragePool": unary("AveragePool", kernel_shape=[2, 2], pads=[1, 0, 0, 1], strides=[1, 2]),
    "Conv": lambda net, x: net.add(
        "Conv", x, matrix(net, 4, 1, 2, 2), group=2, dilations=[2, 1], pads=[1, 0, 0, 1]
    ),
    "ConvTranspose": lambda net, x: net.add(
        "ConvTranspose", x, matrix(net, 2, 3, 2, 2), strides=[2, 1], pads=[0, 1, 1, 0]
    ),
    "Einsum": lambda net, x: net.add("Einsum", x, matrix(net, 2, 5), equation="bchw,co->bowh"),
    "Gemm": lambda net, x: net.add(
        "Gemm", net.add("Reshape", x, i(6, 4)), matrix(net, 4, 3), f(1, 2, 3), alpha=0.5
    ),
    "GlobalAveragePool": unary("GlobalAveragePool"),
    "MatMul": lambda net, x: net.add("MatMul", x, matrix(net, 4, 3)),
    "ReduceMean": with_("ReduceMean", i(1, 3), keepdims=0),
    "ReduceSum": with_("ReduceSum", i(2)),
}

ORDER: dict[str, Case] = {
    "GlobalMaxPool": unary("GlobalMaxPool"),
    "MaxPool": unary("MaxPool", kernel_shape=[2, 2], strides=[1, 2]),
    "ReduceMax": with_("ReduceMax", i(1)),
    "ReduceMin": with_("ReduceMin", i(2, 3), keepdims=0),
}


COMPOSED: dict[str, Case] = {
    "ArgMax": lambda net, x: floats(net, net.add("ArgMax", x, axis=3)),
    "ArgMin": lambda net, x: floats(net, net.add("ArgMin", x, axis=2, select_last_index=1)),
    "BatchNormalization": lambda net, x: net.batch_norm(x),
    "Col2Im": lambda net, x: net.add(
        "Col2Im", net.add("Reshape", x, i(1, 4, 6)), i(4, 3), i(2, 2), pads=[0, 0, 0, 0]
    ),
    "CumSum": with_("CumSum", np.int64(2)),
    "GlobalLpPool": unary("GlobalLpPool", p=2),
    "GroupNormalization": normalized("GroupNormalization", weighted=True, num_groups=1),
    "Hardmax": unary("Hardmax", axis=2),
    "InstanceNormalization": lambda net, x: net.add(
        "InstanceNormalization", x, net.positive(2), net.weights(2)
    ),
    "LRN": unary("LRN", size=3, alpha=0.5),
    "LayerNormalization": lambda net, x: net.add(
        "LayerNormalization", x, net.positive(4), net.weights(4)
    ),
    "LogSoftmax": unary("LogSoftmax"),
    "LpNormalization": unary("LpNormalization", axis=3, p=1),
    "LpPool": unary("LpPool", kernel_shape=[2, 2], p=1),
    "MeanVarianceNormalization": normalized("MeanVarianceNormalization", axes=[2, 3]),
    "ReduceL1": with_("ReduceL1", i(1)),
    "ReduceL2": with_("ReduceL2", i(3)),
    "ReduceLogSum": lambda net, x: net.add(
        "ReduceLogSum", net.add("Add", net.add("Abs", x), f(0.5)), i(3)
    ),
    "ReduceLogSumExp": with_("ReduceLogSumExp", i(3)),
    "ReduceProd": with_("ReduceProd", i(1, 2)),
    "ReduceSumSquare": with_("ReduceSumSquare", i(2)),
    "Softmax": unary("Softmax"),
    "TopK": with_("TopK", i(2), axis=3),
}

CASES: dict[str, Case] = {**ELEMENTWISE, **STRUCTURAL, **LINEAR, **ORDER, **COMPOSED}
NAMES_ONLY = frozenset({"Swish"})
"""Younger than the opset that Lutra works at: taken apart when a model is imported."""


def net_of(kind: str, shape: tuple[int, ...] = SHAPE) -> tuple[Net, Module]:
    """A network around one operator, and its builder, which has samples for it."""
    net = Net(x=(1, 6))
    size = prod(shape)
    x = net.add("Reshape", net.dense(net.x[0], size), i(*shape))
    y = CASES[kind](net, x)
    flat = net.add("Reshape", y, i(1, prod(y.shape)))
    return net, net.returns(net.dense(flat, 3))
