"""What watches a pipeline run: instruments, attached without touching passes."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from lutra.ir.core import Module
from lutra.ir.naming import Names
from lutra.passes.base import Context, Pass


@dataclass(frozen=True)
class Record:
    """What one pass did: changes counted by the rewriter, seconds of wall time.

    `inner` holds the records of the passes that a named pipeline stands for.
    """

    item: Pass
    changes: int
    seconds: float
    inner: tuple[Record, ...] = ()

    def walk(self, depth: int = 0) -> Iterator[tuple[int, Record]]:
        """This record and all below it, with their depths."""
        yield depth, self
        for record in self.inner:
            yield from record.walk(depth + 1)


class Instrument:
    """Base of all instruments: override what you want to see."""

    def before(self, item: Pass, module: Module, context: Context) -> None:
        """A pass is about to run."""

    def after(self, record: Record, module: Module, context: Context) -> None:
        """A pass has run and left the module valid."""

    def failed(self, item: Pass, module: Module, context: Context, error: Exception) -> None:
        """A pass raised, left the module invalid, or an instrument refuses what it did."""


@dataclass
class Statistics(Instrument):
    """Counts what passes did: operations created and erased by class, rules fired by name."""

    before_ops: Counter[str] = field(default_factory=Counter)
    rows: list[tuple[str, dict[str, int], dict[str, int]]] = field(default_factory=list)

    def before(self, item: Pass, module: Module, context: Context) -> None:
        self.before_ops = count_ops(module)
        self._fired = Counter(context.log.fired)

    def after(self, record: Record, module: Module, context: Context) -> None:
        now = count_ops(module)
        change = {
            name: now[name] - self.before_ops[name]
            for name in sorted({*now, *self.before_ops})
            if now[name] != self.before_ops[name]
        }
        fired = dict(context.log.fired - self._fired)
        self.rows.append((record.item.name, change, fired))

    def __str__(self) -> str:
        lines = []
        for name, change, fired in self.rows:
            counts = " ".join(f"{op}{number:+d}" for op, number in change.items())
            rules = " ".join(f"{rule}x{number}" for rule, number in fired.items())
            lines.append(f"{name:18s} {counts or '-'}" + (f"   rules: {rules}" if rules else ""))
        return "\n".join(lines)


def count_ops(module: Module) -> Counter[str]:
    """How many operations of each class a module holds."""
    return Counter(op.opname for graph in module.graphs.values() for op in graph.ops)


@dataclass
class Snapshots(Instrument):
    """Keeps the module's text after each pass. Values keep their names from one to the next.

    only: names of passes to keep; none keeps all.
    """

    only: frozenset[str] = frozenset()
    texts: list[tuple[str, str]] = field(default_factory=list)
    _names: Names = field(default_factory=Names, repr=False)

    def before(self, item: Pass, module: Module, context: Context) -> None:
        if not self.texts:
            self.texts.append(("input", self._names.text(module)))

    def after(self, record: Record, module: Module, context: Context) -> None:
        if not self.only or record.item.name in self.only:
            self.texts.append((record.item.name, self._names.text(module)))

    def diffs(self) -> Iterator[tuple[str, str]]:
        """(pass, unified diff against the snapshot before) for each pass that changed the text."""
        for (old_name, old), (name, new) in zip(self.texts, self.texts[1:], strict=False):
            lines = difflib.unified_diff(
                old.splitlines(), new.splitlines(), old_name, name, lineterm=""
            )
            text = "\n".join(lines)
            if text:
                yield name, text


def timing_tree(records: list[Record]) -> str:
    """Seconds, share and changes of each pass, indented as the pipeline nests."""
    total = sum(record.seconds for record in records) or 1.0
    lines = []
    for top in records:
        for depth, record in top.walk():
            name = "  " * depth + record.item.name
            share = record.seconds / total
            lines.append(
                f"{name:30s} {record.seconds:9.4f} s {share:6.1%}  {record.changes} changes"
            )
    return "\n".join([*lines, f"{'total':30s} {total:9.4f} s"])
