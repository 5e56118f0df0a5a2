"""The textual form of graphs: dump, test language and bug report at once (see `lutra.ir.parser`).

    %x = input : u4[1x2] in [0, 15]
    %m = input : clear u2[1x2] in [0, 3]
    %0 = matmul %x, w=[[3, -2], [1, -4]] : i8[1x2] in [-90, 60]  loc "/fc1/Gemm"
    %1 = add %0, %m : i8[1x2] in [-90, 63]
    return %1

Types are printed for the reader and derived again by the parser, so that they cannot lie. Before
that of an input, `clear` says that it is not encrypted; before others it is derived like the type.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from lutra.ir.core import Graph, Input, Module, Op, Return, Value
from lutra.ir.ops.onnx import Onnx
from lutra.ir.types import Array, Tensor

ELIDE = 32
"""Arrays with more elements are elided where text is for reading only."""


class Printer:
    """Prints graphs; knows the values' names and where large arrays go.

    limit: arrays of more elements than that are elided; None prints all.
    constants: if given, elided arrays are put there and printed as `@name`, which the parser reads
    back; else they are printed as `<shape>`, for the reader only.
    names: what some values are called, with `%`.
    """

    def __init__(
        self,
        limit: int | None = None,
        constants: dict[str, Array] | None = None,
        names: Mapping[Value, str] | None = None,
    ) -> None:
        self.limit = limit
        self.constants = constants
        self.names = dict(names or {})
        self._taken = {name[1:] for name in self.names.values()}
        self._count = 0

    def name(self, value: Value) -> str:
        name = self.names.get(value)
        if name is None:
            wanted = value.owner.name if isinstance(value.owner, Input) else self._number()
            while wanted in self._taken:
                wanted = self._number()
            self._taken.add(wanted)
            name = f"%{wanted if _is_plain(wanted) else _quoted(wanted)}"
            self.names[value] = name
        return name

    def _number(self) -> str:
        self._count += 1
        return str(self._count - 1)

    def op(self, op: Op) -> str:
        results = ", ".join([self.name(value) for value in op.results])
        head = f"onnx.{op.op_type}" if isinstance(op, Onnx) else op.opname
        parts = [self._operand(op, name) for name in op.operand_fields]
        tag = isinstance(op, Onnx)
        parts += [f"{k}={self.attribute(v, tag)}" for k, v in self._attributes(op).items()]
        text = f"{head} {', '.join([part for part in parts if part])}".rstrip()
        if results:
            text = f"{results} = {text} : {', '.join(map(text_of_type, op.results))}"
        if op.loc:
            text += f"  loc {', '.join(map(_quoted, op.loc))}"
        return text

    def graph(self, graph: Graph, indent: str = "") -> str:
        for node in graph.inputs:  # inputs come first to their names
            self.name(node.result)
        return "".join([f"{indent}{self.op(op)}\n" for op in graph.ops])

    def _operand(self, op: Op, name: str) -> str:
        field = getattr(op, name)
        values = (field,) if isinstance(field, Value) else field
        return ", ".join(["none" if value is None else self.name(value) for value in values])

    def _attributes(self, op: Op) -> dict[str, Any]:
        """What must be printed: not names and types that stand elsewhere, nor default words."""
        if isinstance(op, Input):
            return {}
        if isinstance(op, Onnx):
            return {**({"domain": op.domain} if op.domain else {}), **op.attrs}
        if isinstance(op, Return):
            return {"names": op.names} if op.names else {}
        given = op.attributes.items()
        return {n: v for n, v in given if not (isinstance(v, str) and v == _default(op, n))}

    def attribute(self, value: Any, tag: bool = False) -> str:
        """An attribute's text; `tag` names the dtype of every array, not only of unusual ones."""
        if isinstance(value, np.ndarray):
            return self._array(value, tag)
        if isinstance(value, bool | np.bool_):
            return "true" if value else "false"
        if isinstance(value, int | np.integer):
            return str(int(value))
        if isinstance(value, float | np.floating):
            return repr(float(value))
        if isinstance(value, str):
            return _quoted(value)
        if isinstance(value, tuple | list):
            return f"[{', '.join(map(self.attribute, value))}]"
        if isinstance(value, Mapping):
            items = (f"{_quoted(k)}={self.attribute(v)}" for k, v in value.items())
            return f"{{{', '.join(items)}}}"
        raise TypeError(f"no textual form for an attribute of type {type(value).__name__}")

    def _array(self, array: Array, tag: bool) -> str:
        if self.limit is not None and array.size > self.limit:
            if self.constants is None:
                return f"<{Tensor(array.shape, array.dtype.name)}>"
            name = f"c{len(self.constants)}"
            self.constants[name] = array
            return f"@{name}"
        if not array.size:
            return f"{Tensor(array.shape, array.dtype.name)}()"
        if array.dtype in (np.int64, np.float32) and not tag:
            return self._nested(array)
        text = self._nested(array) if array.ndim else f"({self._nested(array)})"
        return f"{array.dtype.name} {text}"

    def _nested(self, array: Array) -> str:
        if array.dtype.kind in "iu":
            return str(array.tolist())
        if array.ndim:
            return f"[{', '.join(map(self._nested, array))}]"
        item = array.item()
        return _quoted(item) if isinstance(item, str | bool) else str(array[()])


_is_plain = re.compile(r"[\w.]+").fullmatch
_quoted = json.JSONEncoder().encode


def _default(op: Op, name: str) -> Any:
    """An attribute's default value, which a dataclass keeps in the class; None if it has none."""
    return getattr(type(op), name, None)


def text_of_type(value: Value) -> str:
    """What stands behind the colon."""
    return f"clear {value.type}" if value.clear else str(value.type)


def text_of_op(op: Op) -> str:
    """One line, numbered as in its graph where it has one, large arrays elided."""
    printer = Printer(limit=ELIDE)
    if op.graph is not None:
        printer.graph(op.graph)
    return printer.op(op)


def text_of_graph(graph: Graph) -> str:
    """For reading: large arrays elided."""
    return Printer(limit=ELIDE).graph(graph)


def text_of_module(
    module: Module,
    limit: int | None = ELIDE,
    constants: dict[str, Array] | None = None,
    names: Mapping[Value, str] | None = None,
) -> str:
    """All graphs; a module that is one graph `main` is printed without a frame.

    limit, constants, names: as of `Printer`.
    """
    if list(module.graphs) == ["main"]:
        return Printer(limit, constants, names).graph(module.main)
    return "\n".join(
        f"graph {name} {{\n{Printer(limit, constants, names).graph(graph, '  ')}}}\n"
        for name, graph in module.graphs.items()
    )
