"""Reads the textual form back.

    module    = graph-body | { "graph" NAME "{" graph-body "}" }
    graph-body = { operation }
    operation = [ value { "," value } "=" ] NAME [ item { "," item } ] [ ":" type { "," type } ]
                [ "loc" STRING { "," STRING } ]
    item      = value | "none" | NAME "=" attribute
    attribute = number | STRING | "true" | "false" | list | map | "@" NAME
              | DTYPE list | DTYPE "(" number ")" | DTYPE "[" shape "]" "(" ")"
    type      = [ "clear" ] ( "u4[1x2] in [0, 15]" | "float32[1x2]" )

`#` starts a comment. Types are read for inputs and ONNX nodes; elsewhere they are derived from the
operation, and a printed type that differs is an error.
"""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from lutra.ir import registry
from lutra.ir.core import Graph, Input, Module, Op, Value
from lutra.ir.errors import Error, PipelineError, TextError, VerifyError, did_you_mean
from lutra.ir.ops.onnx import Onnx
from lutra.ir.text import text_of_type
from lutra.ir.tokens import TokenReader, kind_of
from lutra.ir.types import Array, Int, Tensor, Type


def parse_module(text: str, constants: Mapping[str, Array] | None = None) -> Module:
    """Read a module, or a bare list of operations as its graph `main`.

    constants: the arrays that the text refers to as `@name`.

    Errors: T001, and P006 and P007 for an operation of a plugin that clashes or does not load.
    """
    return _Parser(text, constants or {}).module()


def parse_graph(text: str, constants: Mapping[str, Array] | None = None) -> Graph:
    """Read a bare list of operations."""
    return parse_module(text, constants).main


class _Parser(TokenReader):
    def __init__(self, text: str, constants: Mapping[str, Array]) -> None:
        super().__init__(text)
        self.constants = constants
        self.values: dict[str, Value] = {}
        self.kinds: dict[str, type[Op]] = {}

    # --- the grammar ----------------------------------------------------------------------------
    def module(self) -> Module:
        if self.tokens[self.at] != "graph":
            return Module([self._body("main", "")])
        graphs: dict[str, Graph] = {}
        while self._accept("graph"):
            at, name = self.at, self._expect("name")
            if name in graphs:
                self._fail(at, f"there is a graph {name!r} above")
            self._take("{")
            graphs[name] = self._body(name, "}")
            self._take("}")
        self._take("")
        return Module(graphs.values())

    def _body(self, name: str, stop: str) -> Graph:
        graph, self.values = Graph(name), {}
        while self.tokens[self.at] != stop:
            self._operation(graph)
        return graph

    def _operation(self, graph: Graph) -> None:
        start = self.at
        results = self._results()
        head = self.at
        self._expect("name")
        operands, attributes = self._items()
        types = self._types() if self._accept(":") else range(0)
        loc = self._locations() if self._accept("loc") else ()
        op = self._build(head, results, operands, attributes, types)
        op.loc = loc
        graph._link(op, None)
        if results and len(results) != len(op.results):
            self._fail(
                start, f"{op.opname} has {len(op.results)} results, {len(results)} are named"
            )
        if types and len(types) != len(op.results):
            self._fail(
                types[0], f"{op.opname} has {len(op.results)} results, {len(types)} types stand"
            )
        for at, value in zip(types, op.results, strict=False):
            self._compare(at, value)
        self.values.update(zip(results, op.results, strict=False))

    def _results(self) -> list[str]:
        names: list[str] = []
        while self._is("value"):
            if self.tokens[self.at] in self.values or self.tokens[self.at] in names:
                self._fail(self.at, f"{self.tokens[self.at]} is defined above")
            names.append(self._next())
            if not self._accept(","):
                self._take("=")
                return names
        return names

    def _items(self) -> tuple[list[Value | None], dict[str, Any]]:
        operands: list[Value | None] = []
        attributes: dict[str, Any] = {}
        first = True
        while first or self._accept(","):
            kind = kind_of(self.tokens[self.at])
            if kind == "value":
                operands.append(self._value())
            elif self._accept("none"):
                operands.append(None)
            elif kind == "name" and self.tokens[self.at + 1] == "=":
                name = self._next()
                self.at += 1
                attributes[name] = self._attribute()
            elif first:
                break
            else:
                self._fail(self.at, "an operand or an attribute is expected")
            first = False
        return operands, attributes

    def _value(self) -> Value:
        name = self._next()
        if name not in self.values:
            self._fail(self.at - 1, f"{name} is not defined above")
        return self.values[name]

    def _attribute(self) -> Any:
        at, token = self.at, self._next()
        kind = kind_of(token)
        if kind == "number":
            return _number(token)
        if kind == "numbers":
            return [_number(item) for item in token[1:-1].split(",")]
        if kind == "string":
            return self._unquote(at, token)
        if token in ("true", "false"):
            return token == "true"
        if kind == "constant":
            if token[1:] not in self.constants:
                self._fail(at, f"{token} is not among the constants given")
            return self.constants[token[1:]]
        if token == "[":
            return self._list()
        if token == "{":
            return self._map()
        if kind == "name" and self.tokens[self.at][:1] == "[":
            return self._array(at, self._attribute())
        if kind == "name" and self._accept("("):
            scalar = self._array(at, self._attribute())
            self._take(")")
            return scalar
        if kind == "type" and self._accept("("):
            self._take(")")
            empty = self._type(at)
            if isinstance(empty, Tensor):
                return np.zeros(empty.shape, _dtype(empty.dtype))
        self._fail(at, "an attribute's value is expected")

    def _array(self, dtype: int, items: Any) -> Array:
        try:
            return np.array(items, dtype=_dtype(self.tokens[dtype]))
        except (TypeError, ValueError, OverflowError) as error:
            self._fail(dtype, str(error))

    def _unquote(self, at: int, text: str) -> str:
        if "\\" not in text and text.isprintable():
            return text[1:-1]
        try:
            return str(json.loads(text))
        except ValueError as error:
            self._fail(at, f"the string is not JSON: {error}")

    def _list(self) -> list[Any]:
        items: list[Any] = []
        while not self._accept("]"):
            items.append(self._attribute())
            if self.tokens[self.at] != "]":
                self._take(",")
        return items

    def _map(self) -> dict[str, Any]:
        items: dict[str, Any] = {}
        while not self._accept("}"):
            key = self._string()
            self._take("=")
            items[key] = self._attribute()
            if self.tokens[self.at] != "}":
                self._take(",")
        return items

    def _types(self) -> range:
        """The types' places among the tokens: every second one, for commas stand between."""
        start = self.at
        self._expect("type")
        while self._accept(","):
            self._expect("type")
        return range(start, self.at, 2)

    def _type(self, at: int) -> Type:
        try:
            return _type(_unmarked(self.tokens[at]))
        except (Error, TypeError) as error:
            self._fail(at, error.message if isinstance(error, Error) else str(error))

    def _compare(self, at: int, value: Value) -> None:
        derived = text_of_type(value)
        if self.tokens[at] != derived:
            mark = "clear " if self._is_clear(at) else ""
            found = f"{mark}{self._type(at)}"
            if found != derived:
                self._fail(at, f"the type is {derived}, not {found}")

    def _is_clear(self, at: int) -> bool:
        return _unmarked(self.tokens[at]) != self.tokens[at]

    def _locations(self) -> tuple[str, ...]:
        names = [self._string()]
        while self._accept(","):
            names.append(self._string())
        return tuple(names)

    def _string(self) -> str:
        return self._unquote(self.at, self._expect("string"))

    # --- operations -----------------------------------------------------------------------------
    def _build(
        self,
        head: int,
        results: list[str],
        operands: list[Value | None],
        attributes: dict[str, Any],
        types: range,
    ) -> Op:
        kind = self.tokens[head]
        try:
            if kind == "input":
                if not (len(results) == len(types) == 1) or operands or attributes:
                    self._fail(head, "an input reads `%name = input : type`")
                name = results[0][1:]
                name = self._unquote(head, name) if name[:1] == '"' else name
                return Input(name, self._type(types[0]), self._is_clear(types[0]))
            if kind.startswith("onnx."):
                domain = attributes.pop("domain", "")
                tensors = typing.cast("tuple[Tensor, ...]", tuple(map(self._type, types)))
                return Onnx(tuple(operands), kind[5:], tensors, attributes, domain)
            return _declared(self._kind(head), operands, attributes)
        except (PipelineError, TextError):
            raise
        except (Error, TypeError, ValueError, OverflowError) as error:
            message = error.message if isinstance(error, Error) else str(error)
            self._fail(head, message)

    def _kind(self, head: int) -> type[Op]:
        """The class of operations of that name; a plugin is loaded here. Errors P006, P007."""
        name = self.tokens[head]
        if name not in self.kinds:
            found = registry.find(name)
            if found is None:
                near = did_you_mean(name, registry.names())
                self._fail(head, f"no operation {name!r}; {near}")
            self.kinds[name] = found
        return self.kinds[name]


def _declared(cls: type[Op], operands: list[Value | None], attributes: dict[str, Any]) -> Op:
    hints = cls.field_types
    fields: dict[str, Any] = {}
    for name in cls.operand_fields:
        if hints[name] is Value:
            fields[name] = operands.pop(0) if operands else None
        else:
            fields[name], operands = tuple(operands), []
    if operands or None in fields.values():
        raise ValueError(f"the operands of `{cls.opname}` are {', '.join(cls.operand_fields)}")
    for name, value in attributes.items():
        if name not in cls.attribute_fields:
            near = did_you_mean(name, cls.attribute_fields)
            raise ValueError(f"{cls.opname} has no attribute {name!r}; {near}")
        fields[name] = _fit(name, value, hints[name])
    return cls(**fields)


def _fit(name: str, value: Any, hint: Any) -> Any:
    """An attribute's value as its declaration wants it. ValueError where it is another kind."""
    if type(value) is hint:
        return value
    kind = _origin(hint)
    if kind is np.ndarray and isinstance(value, int | float | list):
        array = np.array(value)  # untagged numbers are int64 or float32
        return array.astype(np.float32) if array.dtype == np.float64 else array
    if kind is tuple and isinstance(value, list):
        return tuple([_fit(name, item, typing.get_args(hint)[0]) for item in value])
    if kind is float and type(value) is int:
        return float(value)
    if kind in (np.ndarray, tuple, float, int, bool, str) and type(value) is not kind:
        raise ValueError(f"{name} is declared as {kind.__name__}, got {value!r}")
    return value


@lru_cache
def _origin(hint: Any) -> Any:
    return typing.get_origin(hint) or hint


def _dtype(name: str) -> Any:
    """The numpy type of a name, also of the names that numpy gives to types of strings."""
    match = re.fullmatch(r"str(\d+)", name)
    return np.dtype(f"<U{int(match[1]) // 32}" if match else name)


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _unmarked(text: str) -> str:
    """The text of a type without the mark of clear values."""
    return text[len("clear") :].lstrip() if text.startswith("clear") else text


@lru_cache(maxsize=1024)
def _type(text: str) -> Type:
    match = re.fullmatch(r"(\w+)\[([\dx]*)\](?:\s+in\s+\[\s*(-?\d+)\s*,\s*(-?\d+)\s*\])?", text)
    assert match is not None
    dtype, dims, lo, hi = match.groups()
    shape = tuple(int(size) for size in dims.split("x") if size)
    if lo is not None:
        type = Int.of(shape, int(lo), int(hi))
        if dtype != f"{'i' if type.signed else 'u'}{type.bits}":
            raise VerifyError("V001", f"the type is {type}, not {dtype}")
        return type
    return Tensor(shape, _dtype(dtype).name)
