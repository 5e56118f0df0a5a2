"""Reads the textual form back.

    module    = graph-body | { "graph" NAME "{" graph-body "}" }
    graph-body = { operation }
    operation = [ value { "," value } "=" ] NAME [ item { "," item } ] [ ":" type { "," type } ]
                [ "loc" STRING { "," STRING } ]
    item      = value | "none" | NAME "=" attribute
    attribute = number | STRING | "true" | "false" | list | map | "@" NAME
              | DTYPE list | DTYPE "(" number ")" | DTYPE "[" shape "]" "(" ")"
    type      = "u4[1x2] in [0, 15]" | "float32[1x2]"

`#` starts a comment. Types are read for inputs and ONNX nodes; elsewhere they are derived from the
operation, and a printed type that differs is an error.
"""

from __future__ import annotations

import dataclasses
import json
import re
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from lutra.ir import registry
from lutra.ir.core import Graph, Input, Module, Op, Value
from lutra.ir.errors import Error, PipelineError, TextError, VerifyError, did_you_mean
from lutra.ir.ops.onnx import Onnx
from lutra.ir.rewriter import Rewriter
from lutra.ir.types import Array, Int, Tensor, Type

_TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)
      | (?P<type>(?:[ui]\d+|float\d+|bfloat16|u?int\d+|bool|str\d*|object)\[(?:\d+(?:x\d+)*)?\]
            (?:\s+in\s+\[\s*-?\d+\s*,\s*-?\d+\s*\])?(?=\s*(?:[,:\n}()]|loc|\#|$)))
      | (?P<value>%[\w.]+|%"(?:[^"\\]|\\.)*")
      | (?P<number>-?(?:\d+\.?\d*(?:e[-+]?\d+)?|inf\b|nan\b))
      | (?P<string>"(?:[^"\\]|\\.)*")
      | (?P<constant>@\w+)
      | (?P<name>[A-Za-z_][\w.\-]*)
      | (?P<punct>[=,:{}()\[\]])
      | (?P<bad>.)""",
    re.VERBOSE,
)


@dataclasses.dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    start: int


def parse_module(text: str, constants: Mapping[str, Array] | None = None) -> Module:
    """Read a module, or a bare list of operations as its graph `main`.

    constants: the arrays that the text refers to as `@name`.

    Errors: T001, and P006 and P007 for an operation of a plugin that clashes or does not load.
    """
    return _Parser(text, constants or {}).module()


def parse_graph(text: str, constants: Mapping[str, Array] | None = None) -> Graph:
    """Read a bare list of operations."""
    return parse_module(text, constants).main


class _Parser:
    def __init__(self, text: str, constants: Mapping[str, Array]) -> None:
        self.text = text
        self.constants = constants
        self.tokens = list(self._tokenize())
        self.at = 0
        self.values: dict[str, Value] = {}
        self.kinds: dict[str, type[Op]] = {}

    def _tokenize(self) -> Iterator[_Token]:
        for match in _TOKEN.finditer(self.text):
            kind = str(match.lastgroup)
            if kind != "space":
                yield _Token(kind, match.group(), match.start())
        yield _Token("end", "", len(self.text))

    # --- the grammar ----------------------------------------------------------------------------
    def module(self) -> Module:
        if not self._is("name", "graph"):
            return Module([self._body("main", "end")])
        graphs: dict[str, Graph] = {}
        while self._accept("name", "graph"):
            name = self._expect("name")
            if name.text in graphs:
                self._fail(name, f"there is a graph {name.text!r} above")
            self._expect("punct", "{")
            graphs[name.text] = self._body(name.text, "punct")
            self._expect("punct", "}")
        self._expect("end")
        return Module(graphs.values())

    def _body(self, name: str, stop: str) -> Graph:
        graph, self.values = Graph(name), {}
        rewriter = Rewriter(graph)
        while not self._is(stop):
            self._operation(rewriter)
        return graph

    def _operation(self, rewriter: Rewriter) -> None:
        start = self.token
        results = self._results()
        head = self._expect("name")
        operands, attributes = self._items()
        types = self._types() if self._accept("punct", ":") else []
        loc = self._locations() if self._accept("name", "loc") else ()
        printed = tuple(type for _, type in types)
        op = self._build(head, results, operands, attributes, printed)
        op.loc = loc
        rewriter.graph._link(op, None)
        if results and len(results) != len(op.results):
            self._fail(
                start, f"{op.opname} has {len(op.results)} results, {len(results)} are named"
            )
        if types and len(types) != len(op.results):
            self._fail(
                types[0][0], f"{op.opname} has {len(op.results)} results, {len(types)} types stand"
            )
        for (token, type), value in zip(types, op.results, strict=False):
            if str(type) != str(value.type):
                self._fail(token, f"the type is {value.type}, not {type}")
        self.values.update(zip(results, op.results, strict=False))

    def _results(self) -> list[str]:
        names: list[str] = []
        while self._is("value"):
            if self.token.text in self.values or self.token.text in names:
                self._fail(self.token, f"{self.token.text} is defined above")
            names.append(self._next().text)
            if not self._accept("punct", ","):
                self._expect("punct", "=")
                return names
        return names

    def _items(self) -> tuple[list[Value | None], dict[str, Any]]:
        operands: list[Value | None] = []
        attributes: dict[str, Any] = {}
        first = True
        while first or self._accept("punct", ","):
            if self._is("value"):
                operands.append(self._value())
            elif self._accept("name", "none"):
                operands.append(None)
            elif self._is("name") and self.tokens[self.at + 1].text == "=":
                name = self._next().text
                self._expect("punct", "=")
                attributes[name] = self._attribute()
            elif first:
                break
            else:
                self._fail(self.token, "an operand or an attribute is expected")
            first = False
        return operands, attributes

    def _value(self) -> Value:
        token = self._next()
        if token.text not in self.values:
            self._fail(token, f"{token.text} is not defined above")
        return self.values[token.text]

    def _attribute(self) -> Any:
        token = self._next()
        if token.kind == "number":
            return _number(token.text)
        if token.kind == "string":
            return self._unquote(token, token.text)
        if token.text in ("true", "false"):
            return token.text == "true"
        if token.kind == "constant":
            if token.text[1:] not in self.constants:
                self._fail(token, f"{token.text} is not among the constants given")
            return self.constants[token.text[1:]]
        if token.text == "[":
            return self._list()
        if token.text == "{":
            return self._map()
        if token.kind == "name" and self._accept("punct", "["):
            return self._array(token, self._list())
        if token.kind == "name" and self._accept("punct", "("):
            scalar = self._array(token, self._attribute())
            self._expect("punct", ")")
            return scalar
        if token.kind == "type" and self._accept("punct", "("):
            self._expect("punct", ")")
            empty = self._type(token)
            if isinstance(empty, Tensor):
                return np.zeros(empty.shape, _dtype(empty.dtype))
        self._fail(token, "an attribute's value is expected")

    def _array(self, dtype: _Token, items: Any) -> Array:
        try:
            return np.array(items, dtype=_dtype(dtype.text))
        except (TypeError, ValueError, OverflowError) as error:
            self._fail(dtype, str(error))

    def _unquote(self, token: _Token, text: str) -> str:
        try:
            return str(json.loads(text))
        except ValueError as error:
            self._fail(token, f"the string is not JSON: {error}")

    def _list(self) -> list[Any]:
        items: list[Any] = []
        while not self._accept("punct", "]"):
            items.append(self._attribute())
            if not self._is("punct", "]"):
                self._expect("punct", ",")
        return items

    def _map(self) -> dict[str, Any]:
        items: dict[str, Any] = {}
        while not self._accept("punct", "}"):
            key = self._string()
            self._expect("punct", "=")
            items[key] = self._attribute()
            if not self._is("punct", "}"):
                self._expect("punct", ",")
        return items

    def _types(self) -> list[tuple[_Token, Type]]:
        types: list[tuple[_Token, Type]] = []
        while not types or self._accept("punct", ","):
            token = self._expect("type")
            types.append((token, self._type(token)))
        return types

    def _type(self, token: _Token) -> Type:
        try:
            return _type(token.text)
        except (Error, TypeError) as error:
            self._fail(token, error.message if isinstance(error, Error) else str(error))

    def _locations(self) -> tuple[str, ...]:
        names = [self._string()]
        while self._accept("punct", ","):
            names.append(self._string())
        return tuple(names)

    def _string(self) -> str:
        token = self._expect("string")
        return self._unquote(token, token.text)

    # --- operations -----------------------------------------------------------------------------
    def _build(
        self,
        head: _Token,
        results: list[str],
        operands: list[Value | None],
        attributes: dict[str, Any],
        types: tuple[Type, ...],
    ) -> Op:
        try:
            if head.text == "input":
                if not (len(results) == len(types) == 1) or operands or attributes:
                    self._fail(head, "an input reads `%name = input : type`")
                name = results[0][1:]
                return Input(self._unquote(head, name) if name[:1] == '"' else name, types[0])
            if head.text.startswith("onnx."):
                domain = attributes.pop("domain", "")
                tensors = typing.cast("tuple[Tensor, ...]", types)
                return Onnx(tuple(operands), head.text[5:], tensors, attributes, domain)
            return self._declared(self._kind(head), operands, attributes)
        except (PipelineError, TextError):
            raise
        except (Error, TypeError, ValueError, OverflowError) as error:
            message = error.message if isinstance(error, Error) else str(error)
            self._fail(head, message)

    def _kind(self, head: _Token) -> type[Op]:
        """The class of operations of that name; a plugin is loaded here. Errors P006, P007."""
        if head.text not in self.kinds:
            found = registry.find(head.text)
            if found is None:
                near = did_you_mean(head.text, registry.names())
                self._fail(head, f"no operation {head.text!r}; {near}")
            self.kinds[head.text] = found
        return self.kinds[head.text]

    def _declared(
        self, cls: type[Op], operands: list[Value | None], attributes: dict[str, Any]
    ) -> Op:
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
                raise ValueError(
                    f"{cls.opname} has no attribute {name!r}; "
                    f"{did_you_mean(name, cls.attribute_fields)}"
                )
            fields[name] = _fit(name, value, hints[name])
        return cls(**fields)

    # --- tokens ---------------------------------------------------------------------------------
    @property
    def token(self) -> _Token:
        return self.tokens[self.at]

    def _is(self, kind: str, text: str | None = None) -> bool:
        token = self.tokens[self.at]
        return token.kind == kind and (text is None or token.text == text)

    def _next(self) -> _Token:
        token = self.tokens[self.at]
        self.at += 1
        return token

    def _accept(self, kind: str, text: str) -> bool:
        if self._is(kind, text):
            self.at += 1
            return True
        return False

    def _expect(self, kind: str, text: str | None = None) -> _Token:
        if not self._is(kind, text):
            found = repr(self.token.text) if self.token.text else "the end of the text"
            wanted = repr(text) if text else "the end of the text" if kind == "end" else f"a {kind}"
            self._fail(self.token, f"{wanted} is expected, found {found}")
        return self._next()

    def _fail(self, token: _Token, message: str) -> typing.NoReturn:
        row = self.text.count("\n", 0, token.start)
        column = token.start - (self.text.rfind("\n", 0, token.start) + 1)
        lines = self.text.split("\n")
        raise TextError(
            "T001",
            f"line {row + 1}, column {column + 1}: {message}",
            lines=[lines[row], " " * column + "^" * max(1, len(token.text.split("\n")[0]))],
        )


def _fit(name: str, value: Any, hint: Any) -> Any:
    """An attribute's value as its declaration wants it. ValueError where it is another kind."""
    kind = typing.get_origin(hint) or hint
    if kind is np.ndarray and isinstance(value, int | float | list):
        array = np.array(value)  # untagged numbers are int64 or float32
        return array.astype(np.float32) if array.dtype == np.float64 else array
    if kind is tuple and isinstance(value, list):
        return tuple(_fit(name, item, typing.get_args(hint)[0]) for item in value)
    if kind is float and type(value) is int:
        return float(value)
    if kind in (np.ndarray, tuple, float, int, bool, str) and type(value) is not kind:
        raise ValueError(f"{name} is declared as {kind.__name__}, got {value!r}")
    return value


def _dtype(name: str) -> Any:
    """The numpy type of a name, also of the names that numpy gives to types of strings."""
    match = re.fullmatch(r"str(\d+)", name)
    return np.dtype(f"<U{int(match[1]) // 32}" if match else name)


def _number(text: str) -> int | float:
    return int(text) if re.fullmatch(r"-?\d+", text) else float(text)


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
