"""Names of values that last: the same in every text of a module that passes change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import count
from weakref import WeakKeyDictionary

from lutra.ir.core import Input, Module, Op, Value
from lutra.ir.text import ELIDE, Printer, text_of_module


class Names:
    """Texts of one module at several times, in which values keep their names.

    A value that is in the module for longer has one name throughout. A new one takes the name of a
    value that is gone, if its operation stands at the same place among the others and reads the
    same but for names, or comes from the same nodes. All others get numbers never used before. So
    a line differs between two texts only where an operation does.
    """

    def __init__(self) -> None:
        self._names: WeakKeyDictionary[Value, str] = WeakKeyDictionary()
        self._numbers = count()
        self._before: list[tuple[str, tuple[str, ...], list[str]]] = []

    def text(self, module: Module) -> str:
        """The module, for reading: large arrays are left out."""
        ops = [op for graph in module.graphs.values() for op in graph.ops]
        lines = [_Nameless(ELIDE).op(op) for op in ops]
        values = [v for op in ops if not isinstance(op, Input) for v in op.results]
        taken = {self._names[value] for value in values if value in self._names}
        for op, old in self._pairs(ops, lines):
            for value, name in zip(op.results, old, strict=True):
                if value not in self._names and name not in taken:
                    self._names[value] = name
                    taken.add(name)
        inputs = {f"%{op.name}" for op in ops if isinstance(op, Input)}
        for value in values:
            if value not in self._names:
                fresh = (f"%{number}" for number in self._numbers)
                self._names[value] = next(name for name in fresh if name not in inputs)
        self._before = [
            (line, op.loc, [self._names.get(v, "") for v in op.results])
            for line, op in zip(lines, ops, strict=True)
        ]
        return text_of_module(module, names={value: self._names[value] for value in values})

    def _pairs(self, ops: Sequence[Op], lines: Sequence[str]) -> Iterator[tuple[Op, list[str]]]:
        """Operations whose results are alike those of these names in the text before."""
        matcher = SequenceMatcher(None, [line for line, _, _ in self._before], lines)
        changed = []
        for tag, i1, i2, j1, j2 in matcher.get_opcodes():
            if tag == "equal":
                for (_, _, names), op in zip(self._before[i1:i2], ops[j1:j2], strict=True):
                    yield from _pair(op, names)
            elif tag == "replace":
                changed.append((self._before[i1:i2], ops[j1:j2]))
        for before, after in changed:
            rest = list(before)
            for op in after:
                for item in rest:
                    _, loc, names = item
                    if op.loc and loc == op.loc and len(names) == len(op.results):
                        rest.remove(item)
                        yield from _pair(op, names)
                        break


def _pair(op: Op, names: list[str]) -> Iterator[tuple[Op, list[str]]]:
    if not isinstance(op, Input) and "" not in names:
        yield op, names


class _Nameless(Printer):
    """Prints an operation without any value's name."""

    def name(self, value: Value) -> str:
        return "%"
