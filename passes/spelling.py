"""The spelling of pipelines.

    pipeline = [ item { "," item } ]
    item     = NAME [ "{" option { "," option } "}" ] | "(" pipeline ")"
    option   = NAME "=" value
    value    = number | "true" | "false" | "none" | WORD | STRING | map
    map      = "{" STRING "=" value { "," STRING "=" value } "}"

The name of a pipeline, a plugin's or one of those given to `parse`, stands for its text in
parentheses, and is spelt so: pipelines that are kept need no other file to be read again.
"""

from __future__ import annotations

import dataclasses
import json
import re
import typing
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from types import UnionType
from typing import Any

from lutra.ir.errors import Error, PipelineError, did_you_mean
from lutra.passes import registry
from lutra.passes.base import Pass
from lutra.passes.bits import Switches

Group = Callable[[tuple[Pass, ...]], Pass]


def parse(text: str, group: Group, named: Mapping[str, str] | None = None) -> tuple[Pass, ...]:
    """The passes that a text names; `group` makes one pass of a list in parentheses.

    named: texts of pipelines by name, beside those of plugins.

    Errors: P001 unknown pass, P002 bad option, P003 syntax.
    """
    return _Parser(text, group, named or {}).pipeline()


def spell(item: Pass) -> str:
    """A pass as it stands in a pipeline's text."""
    options = ",".join(f"{name}={_spell_value(v)}" for name, v in item.options().items())
    return f"{item.name}{{{options}}}" if options else item.name


def _spell_value(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        token = _TOKEN.fullmatch(value)
        plain = token is not None and token.group("word") == value and value not in _WORDS
        return value if plain else json.dumps(value)
    return "{" + ",".join(f"{json.dumps(k)}={_spell_value(v)}" for k, v in value) + "}"


_WORDS: dict[str, Any] = {"true": True, "false": False, "none": None}
_TOKEN = re.compile(
    r"""\s*(?: (?P<number>-?(?:\d+\.?\d*(?:e[-+]?\d+)?|inf)(?![\w]))
             | (?P<string>"(?:[^"\\]|\\.)*")
             | (?P<word>[A-Za-z_][\w\-]*)
             | (?P<punct>[{}(),=])
             | (?P<end>$) )""",
    re.VERBOSE,
)


class _Parser:
    def __init__(
        self, text: str, group: Group, named: Mapping[str, str], within: tuple[str, ...] = ()
    ) -> None:
        self.text = text
        self.group = group
        self.named = named
        self.within = within
        self.at = 0
        self.kind = self.token = ""
        self.start = 0
        self._advance()

    def pipeline(self) -> tuple[Pass, ...]:
        result = tuple(self._items())
        if self.kind != "end":
            self._fail("`,` or the end")
        return result

    def _items(self) -> list[Pass]:
        items: list[Pass] = []
        if self.kind == "end" or self.token == ")":
            return items
        while True:
            items.append(self._item())
            if not self._accept(","):
                return items

    def _item(self) -> Pass:
        if self._accept("("):
            items = tuple(self._items())
            self._expect(")")
            return self.group(items)
        if self.kind != "word":
            self._fail("the name of a pass")
        start, name = self.start, self._advance()
        try:
            return self._pass(name)
        except PipelineError as error:
            raise self._marked(error, start) from error

    def _pass(self, name: str) -> Pass:
        text = self.named[name] if name in self.named else registry.pipeline(name)
        if text is not None:
            return self._named(name, text)
        cls = registry.find(name)
        options: dict[str, Any] = {}
        if self._accept("{"):
            for option, value in self._pairs():
                if option in options:
                    self._fail(f"one value for `{option}`")
                options[option] = value
        return make(cls, options)

    def _pairs(self) -> Iterator[tuple[str, Any]]:
        """What stands between an opening brace, already read, and the closing one."""
        while not self._accept("}"):
            if self.kind not in ("word", "string"):
                self._fail("a name or `}`")
            name = self._text() if self.kind == "string" else self._advance()
            self._expect("=")
            yield name, self._value()
            if self.token != "}":
                self._expect(",")

    def _text(self) -> str:
        try:
            text = str(json.loads(self.token))
        except ValueError:
            self._fail("a JSON string")
        self._advance()
        return text

    def _named(self, name: str, text: str) -> Pass:
        if self.token == "{":
            raise PipelineError("P002", f"pipeline `{name}` has no options", lines=[text])
        if name in self.within:
            raise PipelineError("P003", f"pipeline `{name}` holds itself", lines=[text])
        inner = _Parser(text, self.group, self.named, (*self.within, name))
        return self.group(inner.pipeline())

    def _value(self) -> Any:
        if self._accept("{"):
            return tuple(self._pairs())
        if self.kind == "string":
            return self._text()
        if self.kind not in ("number", "word"):
            self._fail("a value")
        kind, token = self.kind, self._advance()
        if kind == "word":
            return _WORDS.get(token, token)
        return int(token) if re.fullmatch(r"-?\d+", token) else float(token)

    def _advance(self) -> str:
        token = self.token
        match = _TOKEN.match(self.text, self.at)
        if match is None:
            self.start = self.at
            self._fail("a name, number, string or one of {}(),=")
        self.kind = str(match.lastgroup)
        self.token = match.group(self.kind)
        self.start = match.start(self.kind)
        self.at = match.end()
        return token

    def _accept(self, text: str) -> bool:
        if self.kind == "punct" and self.token == text:
            self._advance()
            return True
        return False

    def _expect(self, text: str) -> None:
        if not self._accept(text):
            self._fail(f"`{text}`")

    def _fail(self, expected: str) -> typing.NoReturn:
        message = f"column {self.start + 1}: {expected} is expected"
        way_out = "options stand in braces: `round{bits=5}`" if self.token == "=" else ""
        raise self._marked(PipelineError("P003", message, help=way_out), self.start)

    def _marked(self, error: PipelineError, start: int) -> PipelineError:
        """The error with the text and a mark under the place at fault, unless it has lines."""
        lines = error.lines or [self.text, " " * start + "^"]
        return PipelineError(error.code, error.message, lines=lines, help=error.help)


def make(cls: type[Pass], options: dict[str, Any]) -> Pass:
    """A pass with options checked against its fields' types (P002)."""
    fields = _options(typing.cast(Any, cls))  # protocols take no class for hashable
    for name, value in options.items():
        if name not in fields:
            way_out = did_you_mean(name, list(fields)) if fields else "it has no options"
            raise PipelineError("P002", f"pass `{cls.name}` has no option {name!r}", help=way_out)
        if not _fits(value, fields[name]):
            raise PipelineError(
                "P002",
                f"option `{name}` of pass `{cls.name}` cannot be {_spell_value(value)}",
                help=f"it takes {_describe(fields[name])}",
            )
    try:
        return cls(**options)
    except Error:
        raise
    except (TypeError, ValueError) as error:
        raise PipelineError("P002", f"pass `{cls.name}`: {error}") from error


@cache
def _options(cls: Any) -> dict[str, Any]:
    """Names and types of a pass's options."""
    hints = typing.get_type_hints(cls)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls)}


def _alternatives(hint: Any) -> tuple[Any, ...]:
    is_union = typing.get_origin(hint) in (typing.Union, UnionType)
    return typing.get_args(hint) if is_union else (hint,)


def _fits(value: Any, hint: Any) -> bool:
    for kind in _alternatives(hint):
        if typing.get_origin(kind) is typing.Literal:
            if value in typing.get_args(kind):
                return True
        elif typing.get_origin(kind) is tuple:
            if isinstance(value, tuple):
                return True
        elif type(value) is kind or (kind is float and type(value) is int):
            return True
    return False


def _describe(hint: Any) -> str:
    names = []
    for kind in _alternatives(hint):
        if typing.get_origin(kind) is typing.Literal:
            names += [str(word) for word in typing.get_args(kind)]
        elif typing.get_origin(kind) is tuple:
            example = '{"/conv*"=true}' if kind == Switches else '{"/conv*"=4,"*"=8}'
            names.append(f"a map such as {example}")
        else:
            names.append({type(None): "none"}.get(kind, kind.__name__))
    return " or ".join(names)
