"""What goes into a model and comes out of it, and how the caller's arrays count samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from lutra.ir.core import Graph, Module
from lutra.ir.errors import InputError, did_you_mean
from lutra.ir.types import Array, Shape, Tensor, Type, text_of_shape


@dataclass(frozen=True)
class Port:
    """An input or output of a model: `shape` for one sample, with its batch axis of size 1.

    clear: an input that is not encrypted.
    """

    name: str
    shape: Shape
    dtype: str
    clear: bool = False

    @classmethod
    def of(cls, name: str, type: Type, clear: bool = False) -> Port:
        return cls(name, type.shape, type.dtype if isinstance(type, Tensor) else "int64", clear)

    def __str__(self) -> str:
        mark = "clear " if self.clear else ""
        return f"{self.name}: {mark}{self.dtype}[{text_of_shape(self.shape)}]"


class Form(IntEnum):
    """How arrays count samples: not at all, on the model's batch axis, on an axis in front."""

    SINGLE = 0
    BATCH = 1
    SAMPLES = 2


@dataclass(frozen=True)
class Batch:
    """Checked inputs: one array (samples, *shape) by name, and the form they came in."""

    arrays: Mapping[str, Array]
    samples: int
    form: Form


@dataclass(frozen=True)
class Signature:
    """The inputs and outputs of a model, in its own order."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    @classmethod
    def of(cls, module: Module) -> Signature:
        if module.partitioned:
            return cls.between(module.encode, module.decode)
        return cls.between(module.main, module.main)

    @classmethod
    def between(cls, first: Graph, last: Graph) -> Signature:
        """The inputs of one graph and the outputs of another."""
        return cls(
            tuple(Port.of(node.name, node.type, node.clear) for node in first.inputs),
            tuple(Port.of(n, v.type) for n, v in zip(last.output_names, last.outputs, strict=True)),
        )

    def __str__(self) -> str:
        ends = (", ".join(map(str, ports)) for ports in (self.inputs, self.outputs))
        return " -> ".join(ends)

    def arrange(self, data: Any, *, not_finite: str = "I003") -> Batch:
        """The caller's data as arrays (samples, *shape), in the model's data types.

        data: one array where the model has one input, else a mapping from names to arrays. An
        array counts samples on the model's batch axis, or on an axis of its own in front, or is
        one sample. One-sample arrays are shared by all samples of the others.

        Errors: I001 shape, I002 data type, I004 names, and `not_finite` for NaN and infinity.
        """
        arrays: dict[str, Array] = {}
        form = Form.SINGLE
        for port, given in self._named(data):
            array = _typed(port, given, not_finite)
            arrays[port.name], found = _arranged(port, array)
            form = max(form, found)
        counts = {len(array) for array in arrays.values()} - {1}
        if len(counts) > 1:
            each = ", ".join(f"{name!r} {len(array)}" for name, array in arrays.items())
            raise InputError("I001", f"inputs differ in their number of samples: {each}")
        samples = counts.pop() if counts else 1
        full = {
            name: np.broadcast_to(array, (samples, *array.shape[1:]))
            for name, array in arrays.items()
        }
        return Batch(full, samples, form)

    def _named(self, data: Any) -> list[tuple[Port, Any]]:
        names = [port.name for port in self.inputs]
        if not isinstance(data, Mapping):
            if len(names) != 1:
                raise InputError(
                    "I004",
                    f"the model has {len(names)} inputs",
                    help=f"give a dict of arrays by name: {', '.join(map(str, self.inputs))}",
                )
            data = {names[0]: data}
        for name in data:
            if name not in names:
                raise InputError(
                    "I004", f"the model has no input {name!r}", help=did_you_mean(str(name), names)
                )
        missing = [port for port in self.inputs if port.name not in data]
        if missing:
            raise InputError("I004", f"input {missing[0].name!r} is missing: {missing[0]}")
        return [(port, data[port.name]) for port in self.inputs]

    def release(self, results: Sequence[Array], form: Form) -> list[Array]:
        """Results (samples, *shape) in the form that the inputs had.

        On the batch axis where the output has one, as onnxruntime gives it; without an axis for
        samples where one sample was given in the model's own shape.
        """
        released = []
        for port, array in zip(self.outputs, results, strict=True):
            if form is Form.BATCH and port.shape[:1] == (1,):
                array = array.reshape(len(array), *port.shape[1:])
            elif form is Form.SINGLE or (form is Form.BATCH and len(array) == 1):
                array = array[0]
            released.append(np.asarray(array))
        return released


def _arranged(port: Port, array: Array) -> tuple[Array, Form]:
    """An array as (samples, *shape), and how it counted them."""
    shape, given = port.shape, array.shape
    if given[1:] == shape and array.ndim == len(shape) + 1:
        return array, Form.SAMPLES
    if shape[:1] == (1,) and array.ndim == len(shape) and given[1:] == shape[1:]:
        return array.reshape(len(array), *shape), Form.BATCH
    if given == shape:
        return array[None], Form.SINGLE
    raise _wrong_shape(port, given)


def _wrong_shape(port: Port, given: Shape) -> InputError:
    batch = port.shape[:1] == (1,)
    wanted = port.shape[1:] if batch else port.shape
    sizes = ", ".join(["samples", *map(str, wanted)])
    count, size = int(np.prod(given)), int(np.prod(wanted))
    help = ""
    if count and given[:1] and count == given[0] * size:
        help = (
            f"it has the right number of elements: x.reshape({', '.join(map(str, (-1, *wanted)))})"
        )
    return InputError(
        "I001", f"input {port.name!r} has shape {given}, not ({sizes}): {port}", help=help
    )


def _typed(port: Port, given: Any, not_finite: str) -> Array:
    """An array in the input's data type; other numbers are cast where that keeps their meaning."""
    try:
        array = np.asarray(given)
    except Exception as error:  # whatever the given object's own conversion raises
        raise InputError(
            "I002",
            f"input {port.name!r} is no array of numbers: {error}",
            help="give a numpy array; of a torch tensor that needs gradients, x.detach().numpy()",
        ) from error
    target = np.dtype(port.dtype)
    if array.dtype != target:
        array = _cast(port, array, target)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        wrong = ~np.isfinite(array)
        first = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise InputError(
            not_finite,
            f"input {port.name!r} holds {int(wrong.sum())} NaN or infinite values, "
            f"the first at {list(first)}",
            help="drop these samples or fill the gaps",
        )
    return array


def _cast(port: Port, array: Array, target: np.dtype[Any]) -> Array:
    kinds = {"b": "b", "i": "iub", "u": "iub"}.get(target.kind, "fiub")
    if array.dtype.kind not in kinds:
        raise InputError(
            "I002", f"input {port.name!r} has data type {array.dtype}, not {target}: {port}"
        )
    if target.kind in "iu" and array.size:
        limits = np.iinfo(target)
        lo, hi = int(array.min()), int(array.max())
        if lo < limits.min or hi > limits.max:
            raise InputError(
                "I002", f"input {port.name!r} reaches [{lo}, {hi}], which {target} does not hold"
            )
    with np.errstate(over="ignore"):  # too large a float becomes infinite, which is found
        return array.astype(target)
