"""Operators of one's own in Python: what numpy does with a value, written down as ONNX nodes.

A `Traced` value stands for an encrypted one. It carries a sample, so that shapes are known, and
numpy hands its functions to it (https://numpy.org/neps/nep-0013, nep-0018).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from onnx import NodeProto, TensorProto, helper, numpy_helper

from lutra.ir.errors import InputError
from lutra.ir.types import Array, Int

if TYPE_CHECKING:
    from lutra.quantization.quantizers import UniformQuantizer

QONNX = "qonnx.custom_op.general"
"""Domain of the nodes that quantize (https://github.com/fastmachinelearning/qonnx)."""

UFUNCS = {
    "absolute": "Abs", "add": "Add", "arccos": "Acos", "arccosh": "Acosh", "arcsin": "Asin",
    "arcsinh": "Asinh", "arctan": "Atan", "arctanh": "Atanh", "ceil": "Ceil", "cos": "Cos",
    "cosh": "Cosh", "divide": "Div", "equal": "Equal", "exp": "Exp", "floor": "Floor",
    "greater": "Greater", "greater_equal": "GreaterOrEqual", "less": "Less",
    "less_equal": "LessOrEqual", "log": "Log", "logical_and": "And", "logical_not": "Not",
    "logical_or": "Or", "matmul": "MatMul", "maximum": "Max", "minimum": "Min", "multiply": "Mul",
    "negative": "Neg", "power": "Pow", "reciprocal": "Reciprocal", "rint": "Round", "sign": "Sign",
    "sin": "Sin", "sinh": "Sinh", "sqrt": "Sqrt", "subtract": "Sub", "tan": "Tan", "tanh": "Tanh",
}  # fmt: skip
"""ONNX operators of numpy's universal functions."""

REDUCTIONS: dict[Any, str] = {
    np.max: "ReduceMax", np.mean: "ReduceMean", np.min: "ReduceMin", np.sum: "ReduceSum"
}  # fmt: skip

MOVEMENTS = {
    np.broadcast_to, np.diagonal, np.expand_dims, np.flip, np.moveaxis, np.ravel, np.repeat,
    np.reshape, np.roll, np.rot90, np.squeeze, np.swapaxes, np.take, np.tile, np.transpose,
}  # fmt: skip
"""Functions that move elements only: what they do with positions says all about them."""


@dataclass
class Tape:
    """The nodes and constants written so far; their names begin with `prefix`."""

    prefix: str
    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)

    def name(self) -> str:
        return f"{self.prefix}/{len(self.nodes) + len(self.constants)}"

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        array = np.array(value, dtype)
        self.constants.append(numpy_helper.from_array(array, self.name()))
        return str(self.constants[-1].name)

    def node(self, op_type: str, inputs: Sequence[str], sample: Any, **attrs: Any) -> Traced:
        """A node, of which `sample` is the result."""
        name = self.name()
        self.nodes.append(helper.make_node(op_type, list(inputs), [name], name, **attrs))
        return Traced(self, name, np.asarray(sample))

    def cast(self, name: str, dtype: Any) -> str:
        """A float as a value of another type."""
        if dtype is np.float32:
            return name
        to = int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
        return self.node("Cast", [name], np.zeros((), dtype), to=to).name

    def quantize(self, grid: UniformQuantizer, value: str, result: str) -> str:
        """QONNX's Quant node; what it gives is `result`."""
        numbers = (grid.scale, grid.zero_point, grid.n_bits)
        names = [f"{result}/{part}" for part in ("scale", "zero_point", "bits")]
        for number, name in zip(numbers, names, strict=True):
            self.constants.append(numpy_helper.from_array(np.array(number, np.float32), name))
        node = helper.make_node(
            "Quant", [value, *names], [result], result, domain=QONNX, signed=int(grid.is_signed),
            narrow=0, rounding_mode="ROUND",
        )  # fmt: skip
        self.nodes.append(node)
        return result


class Traced(NDArrayOperatorsMixin):
    """A value of an ONNX graph that is being written.

    sample: what it is for one sample, with the samples' axis in front.

    Errors: I005 where a function is called that has no meaning for encrypted values.
    """

    def __init__(self, tape: Tape, name: str, sample: Array) -> None:
        self.tape, self.name, self.sample = tape, name, sample

    shape = property(lambda self: self.sample.shape)
    ndim = property(lambda self: self.sample.ndim)
    size = property(lambda self: self.sample.size)
    dtype = property(lambda self: self.sample.dtype)
    T = property(lambda self: np.transpose(self))

    def __len__(self) -> int:
        return len(self.sample)

    def __array__(self, *_: Any, **__: Any) -> Array:
        raise _untraceable("an array of its values")

    def __bool__(self) -> bool:
        raise _untraceable("whether it is true")

    def __getitem__(self, key: Any) -> Traced:
        return self._moved(lambda positions: positions[key])

    # --- numpy's protocols ------------------------------------------------------------------------
    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if ufunc is np.square:
            return inputs[0] * inputs[0]
        if ufunc is np.floor_divide:
            return np.floor(inputs[0] / inputs[1])
        op_type = UFUNCS.get(ufunc.__name__)
        if method != "__call__" or kwargs or op_type is None:
            raise _untraceable(f"numpy.{ufunc.__name__}")
        names = [self._operand(a, ufunc is np.matmul) for a in inputs]
        return self.tape.node(op_type, names, ufunc(*map(_sample, inputs)))

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func in REDUCTIONS:
            return self._reduced(func, *args, **kwargs)
        if func in MOVEMENTS:
            return self._moved(lambda positions: func(positions, *args[1:], **kwargs))
        own = OWN.get(func)
        if own is None:
            raise _untraceable(f"numpy.{func.__name__}")
        return own(*args, **kwargs)

    # --- the methods of arrays --------------------------------------------------------------------
    def astype(self, dtype: Any, **_: Any) -> Traced:
        """Truth values as numbers, floats cut off to integers; integers are kept as floats."""
        if self.dtype == np.bool_:
            return self.tape.node("Cast", [self.name], self.sample.astype(dtype), to=FLOAT)
        if np.issubdtype(dtype, np.integer) and not np.issubdtype(self.dtype, np.integer):
            whole = np.sign(self) * np.floor(np.abs(self))
            return Traced(self.tape, whole.name, whole.sample.astype(dtype))
        return Traced(self.tape, self.name, self.sample.astype(dtype))

    def reshape(self, *shape: Any) -> Any:
        return np.reshape(self, shape[0] if len(shape) == 1 else shape)

    def transpose(self, *axes: int) -> Any:
        return np.transpose(self, axes or None)

    def flatten(self) -> Any:
        return np.ravel(self)

    def sum(self, axis: Any = None, keepdims: bool = False) -> Any:
        return np.sum(self, axis=axis, keepdims=keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Any:
        return np.mean(self, axis=axis, keepdims=keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> Any:
        return np.max(self, axis=axis, keepdims=keepdims)

    def min(self, axis: Any = None, keepdims: bool = False) -> Any:
        return np.min(self, axis=axis, keepdims=keepdims)

    def clip(self, low: Any = None, high: Any = None) -> Any:
        return np.clip(self, low, high)

    def dot(self, other: Any) -> Any:
        return np.matmul(self, other)

    # --- quantizers -------------------------------------------------------------------------------
    def quantized(self, grid: UniformQuantizer) -> Traced:
        """The integers of the value."""
        name = self.tape.quantize(grid, self.name, self.tape.name())
        return Traced(self.tape, name, grid.dequant(grid.quant(self.sample))).integers(grid)

    def integers(self, grid: UniformQuantizer) -> Traced:
        """The integers of a value that is quantized already."""
        scaled = self / grid.scale + grid.zero_point
        return Traced(self.tape, scaled.name, grid.quant(self.sample))

    # --- inside -----------------------------------------------------------------------------------
    def _operand(self, operand: Any, weights: bool = False) -> str:
        if isinstance(operand, Traced):
            return operand.name
        array = np.asarray(operand)
        name = self.tape.constant(array, np.bool_ if array.dtype == np.bool_ else np.float32)
        if not weights or not np.array_equal(array, np.rint(array)):
            return name
        from lutra.quantization.quantizers import UniformQuantizer

        largest = int(np.abs(array).max())
        bits = Int.of((), -1 - largest, largest).bits
        return self.tape.quantize(UniformQuantizer(bits, 1.0, 0, True), name, self.tape.name())

    def _moved(self, function: Callable[[Array], Array]) -> Traced:
        """Of a function that moves elements: a Gather of the positions that it gives."""
        positions = np.asarray(function(np.arange(self.size).reshape(self.shape)))
        if len(self.sample) != 1 or positions.shape[:1] != (1,):
            raise _untraceable("something else than one sample", "leave the first axis as it is")
        shape = (-1, *positions.shape[1:])
        flat = self.tape.node("Flatten", [self.name], self.sample.reshape(1, -1), axis=1)
        picked = self.sample.reshape(1, -1)[:, positions.reshape(-1)]
        indices = self.tape.constant(positions.reshape(-1), np.int64)
        gathered = self.tape.node("Gather", [flat.name, indices], picked, axis=1)
        names = [gathered.name, self.tape.constant(shape, np.int64)]
        return self.tape.node("Reshape", names, picked.reshape(positions.shape))

    def _reduced(self, func: Any, x: Any, axis: Any = None, keepdims: bool = False) -> Traced:
        axes = range(x.ndim) if axis is None else np.atleast_1d(axis)
        if any(int(a) % x.ndim == 0 for a in axes):
            raise _untraceable("several samples at once", "leave the first axis as it is")
        names = [x.name, self.tape.constant([int(a) for a in axes], np.int64)]
        sample = func(x.sample, axis=tuple(int(a) for a in axes), keepdims=keepdims)
        return self.tape.node(REDUCTIONS[func], names, sample, keepdims=int(keepdims))


FLOAT = int(TensorProto.FLOAT)


def _concatenate(parts: Sequence[Any], axis: int = 0) -> Any:
    first = next(_traced(parts))
    if axis % first.ndim == 0:
        raise _untraceable("several samples at once", "leave the first axis as it is")
    names = [first._operand(part) for part in parts]
    return first.tape.node("Concat", names, np.concatenate([*map(_sample, parts)], axis), axis=axis)


def _clip(x: Any, low: Any = None, high: Any = None) -> Any:
    above = x if low is None else np.maximum(x, low)
    return above if high is None else np.minimum(above, high)


def _where(condition: Any, x: Any, y: Any) -> Any:
    first = next(_traced((condition, x, y)))
    names = [first._operand(part) for part in (condition, x, y)]
    return first.tape.node("Where", names, np.where(*map(_sample, (condition, x, y))))


OWN: dict[Any, Callable[..., Any]] = {
    np.clip: _clip, np.concatenate: _concatenate, np.dot: np.matmul, np.where: _where
}  # fmt: skip


def _traced(operands: Sequence[Any]) -> Iterator[Traced]:
    yield from (operand for operand in operands if isinstance(operand, Traced))


def _sample(operand: Any) -> Any:
    return operand.sample if isinstance(operand, Traced) else operand


def _untraceable(what: str, help: str = "") -> InputError:
    return InputError(
        "I005",
        f"an operator in Python asks an encrypted value for {what}",
        help=help or "write it with numpy's arithmetic, comparisons, sums and reshapes",
    )
