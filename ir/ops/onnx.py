"""Float-level operations: ONNX nodes kept as ONNX nodes. onnxruntime gives them their meaning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lutra.ir import ort
from lutra.ir.core import Op, Value, op
from lutra.ir.errors import ModelError, VerifyError
from lutra.ir.types import Array, Tensor, Type, frozen


@op("constant")
class Constant(Op):
    """A clear tensor known at compile time."""

    value: Array

    def normalise(self) -> None:
        self.value = frozen(self.value, contiguous=False)

    def in_order(self) -> Array:
        """The tensor in C order. If it was a view of another order, it is so for good."""
        self.value = frozen(self.value)
        return self.value

    def infer(self) -> Tensor:
        return Tensor(self.value.shape, self.value.dtype.name)

    def is_constant(self) -> bool:
        return True

    def eval(self) -> Array:
        return self.value[None]


@op("onnx")
class Onnx(Op):
    """One ONNX node at the normalised opset (`lutra.ir.ort.OPSET`).

    Operands may be None where ONNX lets them be absent. `types` are the results' types; the
    verifier holds them against ONNX's own shape inference.
    """

    inputs: tuple[Value | None, ...]
    op_type: str
    types: tuple[Tensor, ...]
    attrs: Mapping[str, Any]
    domain: str = ""

    @classmethod
    def make(
        cls, op_type: str, inputs: Sequence[Value | None], domain: str = "", **attrs: Any
    ) -> Onnx:
        """A node whose result types come from ONNX's shape inference."""
        types = ort.infer_types(op_type, domain, attrs, inputs)
        return cls(tuple(inputs), op_type, types, attrs, domain)

    def infer(self) -> tuple[Type, ...]:
        return self.types

    def is_constant(self) -> bool:
        return bool(self.operands) and all(value.constant for value in self.operands)

    def check(self) -> Iterator[str]:
        integers = [value.type for value in self.operands if not isinstance(value.type, Tensor)]
        if integers:
            yield f"{self.op_type} reads {integers[0]}, an integer of the circuit"
            return
        try:
            types = ort.infer_types(
                self.op_type, self.domain, self.attrs, self.inputs, len(self.types)
            )
        except ModelError:  # an operator or a shape that ONNX's inference does not know
            return
        except VerifyError as error:
            yield error.message
            return
        for given, derived in zip(self.types, types, strict=True):
            if given != derived:
                yield f"the type of {self.op_type} is {derived}, not {given}"

    def input(self, index: int) -> Value | None:
        """The operand at a position of ONNX's signature, None where it is absent."""
        return self.inputs[index] if index < len(self.inputs) else None


def constant_of(value: Value | None) -> Array | None:
    """The tensor behind a value that is a constant, else None."""
    if value is not None and isinstance(value.owner, Constant):
        return value.owner.value
    return None


def scalar_of(value: Value | None) -> float | None:
    """The number behind a value that is a constant with one element, else None."""
    array = constant_of(value)
    return float(array.reshape(())) if array is not None and np.size(array) == 1 else None
