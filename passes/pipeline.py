"""Pipelines: lists of passes with one spelling, and their execution."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from lutra.ir.core import Module
from lutra.ir.errors import Error, PipelineError, VerifyError
from lutra.ir.verifier import verify
from lutra.passes import files, spelling
from lutra.passes.base import Context, Contract, Lossy, Pass
from lutra.passes.instruments import Instrument, Record
from lutra.passes.ordering import check_order


@dataclass(frozen=True)
class Pipeline(Pass):
    """Passes in order. A pipeline is a pass itself, so pipelines nest.

    `Pipeline.parse(str(p)) == p` for every pipeline p.
    """

    name: ClassVar[str] = "pipeline"
    contract: ClassVar[Contract] = Lossy
    items: tuple[Pass, ...] = field(default=())

    @classmethod
    def parse(cls, text: str, named: Mapping[str, str] | None = None) -> Pipeline:
        """Read a pipeline's text, in which the names in `named` stand for texts themselves.

        Errors: P001 unknown pass, P002 bad option, P003 syntax.
        """
        return cls(spelling.parse(text, cls, named))

    @classmethod
    def load(cls, path: str | Path) -> dict[str, Pipeline]:
        """The named pipelines of a TOML file (see `lutra.passes.files`); they may name each other.

        Errors: I004 no such file, P001 to P003, P006 a name that is taken.
        """
        texts = files.read(path)
        return {name: cls.parse(text, texts) for name, text in texts.items()}

    @classmethod
    def of(cls, source: str | Pass | Sequence[Pass]) -> Pipeline:
        """A pipeline from its text, from one pass, or from a sequence of passes."""
        if isinstance(source, str):
            return cls.parse(source)
        if isinstance(source, Pipeline):
            return source
        return cls((source,)) if isinstance(source, Pass) else cls(tuple(source))

    def expand(self) -> Sequence[Pass]:
        return self.items

    def flat(self) -> tuple[Pass, ...]:
        """The passes that do the work, named pipelines replaced by what they stand for."""
        return tuple(_flatten(self.items))

    def execute(
        self,
        module: Module,
        context: Context | None = None,
        instruments: Sequence[Instrument] = (),
    ) -> list[Record]:
        """Run every pass on the module in place and verify the module after each.

        Returns what each pass did, groups included. Errors: P009 if a pass lacks what it requires,
        found before anything runs; what a pass raises; P004 if a pass leaves the module invalid.
        """
        verify(module)
        check_order(self.flat(), module)
        return _Run(module, context or Context(), instruments).items(self.items)

    def __str__(self) -> str:
        return ",".join(spell(item) for item in self.items)


def spell(item: Pass) -> str:
    """A pass as it stands in a pipeline's text."""
    return f"({item})" if isinstance(item, Pipeline) else spelling.spell(item)


def _flatten(items: Sequence[Pass]) -> list[Pass]:
    flat: list[Pass] = []
    for item in items:
        inner = item.expand()
        flat += [item] if _is_simple(item, inner) else _flatten(inner)
    return flat


def _is_simple(item: Pass, inner: Sequence[Pass]) -> bool:
    return len(inner) == 1 and inner[0] is item


@dataclass
class _Run:
    """One execution: runs passes, keeps records, calls instruments."""

    module: Module
    context: Context
    instruments: Sequence[Instrument]

    def items(self, items: Sequence[Pass]) -> list[Record]:
        return [self._item(item) for item in items]

    def _item(self, item: Pass) -> Record:
        inner = item.expand()
        if not _is_simple(item, inner):
            start = time.perf_counter()
            records = tuple(self.items(inner))
            changes = sum(record.changes for record in records)
            return Record(item, changes, time.perf_counter() - start, records)
        for instrument in self.instruments:
            instrument.before(item, self.module, self.context)
        try:
            record = self._run(item)
        except Error as error:
            for instrument in self.instruments:
                instrument.failed(item, self.module, error)
            raise
        for instrument in self.instruments:
            instrument.after(record, self.module, self.context)
        return record

    def _run(self, item: Pass) -> Record:
        start = time.perf_counter()
        changes = item.run_module(self.module, self.context)
        record = Record(item, changes, time.perf_counter() - start)
        try:
            verify(self.module)
        except VerifyError as error:
            raise PipelineError(
                "P004",
                f"pass `{spell(item)}` left the module invalid: {error.message}",
                nodes=error.nodes,
                lines=error.lines,
            ) from error
        return record
