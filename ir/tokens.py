"""Splits the textual form into tokens, and points at one of them where it is at fault."""

from __future__ import annotations

import re
from typing import NoReturn

from lutra.ir.errors import TextError

_NUMBER = r"-?(?:\d+\.?\d*(?:e[-+]?\d+)?|inf\b|nan\b)"
_TOKEN = re.compile(
    rf"""(?:\s|\#[^\n]*)*
      ( (?:clear\s+)?(?:[ui]\d+|float\d+|bfloat16|u?int\d+|bool|str\d*|object)\[(?:\d+(?:x\d+)*)?\]
            (?:\s+in\s+\[\s*-?\d+\s*,\s*-?\d+\s*\])?(?=\s*(?:[,:\n}}()]|loc|\#|$))
      | %[\w.]+ | %"(?:[^"\\]|\\.)*"
      | {_NUMBER}
      | "(?:[^"\\]|\\.)*"
      | @\w+
      | [A-Za-z_][\w.\-]*
      | \[\s*{_NUMBER}(?:\s*,\s*{_NUMBER})*\s*\]
      | . | \Z )""",
    re.VERBOSE,
)
_KINDS = {"%": "value", '"': "string", "@": "constant", "[": "numbers"}


def kind_of(token: str) -> str:
    """What a token is; a list of numbers is one token."""
    first = token[:1]
    if (first.isalpha() and first.isascii()) or first == "_":
        return "type" if "[" in token else "number" if token in ("inf", "nan") else "name"
    if first.isdecimal() or (first == "-" and len(token) > 1):
        return "number"
    if not token:
        return "end"
    return _KINDS.get(first, "sign") if len(token) > 1 else "sign"


class TokenReader:
    """Reads a text token by token. `at` is the number of the next one; `""` ends the text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[str] = _TOKEN.findall(text)
        self.at = 0

    def _is(self, kind: str) -> bool:
        return kind_of(self.tokens[self.at]) == kind

    def _next(self) -> str:
        self.at += 1
        return self.tokens[self.at - 1]

    def _accept(self, token: str) -> bool:
        if self.tokens[self.at] == token:
            self.at += 1
            return True
        return False

    def _take(self, token: str) -> None:
        if not self._accept(token):
            self._miss(repr(token) if token else "the end of the text")

    def _expect(self, kind: str) -> str:
        if not self._is(kind):
            self._miss(f"a {kind}")
        return self._next()

    def _miss(self, wanted: str) -> NoReturn:
        found = repr(self.tokens[self.at]) if self.tokens[self.at] else "the end of the text"
        self._fail(self.at, f"{wanted} is expected, found {found}")

    def _fail(self, at: int, message: str) -> NoReturn:
        """Raise T001 at the token of that number, which is looked for once more in the text."""
        start = [match.start(1) for match in _TOKEN.finditer(self.text)][at]
        row = self.text.count("\n", 0, start)
        column = start - (self.text.rfind("\n", 0, start) + 1)
        lines = self.text.split("\n")
        width = max(1, len(self.tokens[at].split("\n")[0]))
        raise TextError(
            "T001",
            f"line {row + 1}, column {column + 1}: {message}",
            lines=[lines[row], " " * column + "^" * width],
        )
