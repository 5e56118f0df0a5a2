"""Pipelines: lists of passes with one spelling, and their execution."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from lutra.ir.core import Module
from lutra.ir.errors import PipelineError, VerifyError, did_you_mean
from lutra.ir.verifier import verify
from lutra.passes import files, spelling
from lutra.passes.base import Context, Contract, Lossy, Notes, Pass
from lutra.passes.bits import BitsError, check_patterns
from lutra.passes.instruments import Instrument, Record
from lutra.passes.ordering import check_order
from lutra.passes.rules import RuleLog


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
        """A pipeline from its text, from one pass, or from a sequence of passes.

        Errors: P003 where it is none of these, and those of `parse`.
        """
        if isinstance(source, str):
            return cls.parse(source)
        if isinstance(source, Pipeline):
            return source
        items: Any = (source,) if isinstance(source, Pass) else source
        if not isinstance(items, Sequence) or not all(isinstance(item, Pass) for item in items):
            raise PipelineError(
                "P003",
                f"{source!r} is neither a pipeline's text nor passes",
                help='write pipeline="clean,default", or a list such as [Clean(), Default()]',
            )
        return cls(tuple(items))

    def expand(self) -> Sequence[Pass]:
        return self.items

    def flat(self) -> tuple[Pass, ...]:
        """The passes that do the work, named pipelines replaced by what they stand for."""
        return tuple(_flatten(self.items))

    def names(self) -> list[str]:
        """Names of all passes in order, those that stand for others included."""
        return list(_names(self.items))

    def until(self, name: str) -> Pipeline:
        """The passes up to and with the first of that name. Error P001 if there is none."""
        head, found = _until(self.items, name)
        if not found:
            message = f"the pipeline has no pass {name!r}"
            raise PipelineError("P001", message, help=did_you_mean(name, self.names()))
        return Pipeline(head)

    def decided(self, module: Module, context: Context | None = None) -> Pipeline:
        """The pipeline with each choice made that it comes to on this module, which stays as it is.

        The pipeline itself where it holds no choice.
        """
        if not any(map(_chooses, self.items)):
            return self
        twin = dataclasses.replace(context or Context(), notes=Notes(), log=RuleLog())
        return Pipeline(tuple(_decided(self.items, module.clone(), twin)))

    def execute(
        self,
        module: Module,
        context: Context | None = None,
        instruments: Sequence[Instrument] = (),
    ) -> list[Record]:
        """Run every pass on the module in place and verify the module after each.

        Returns what each pass did, groups included. Errors: P009 if a pass lacks what it requires,
        and P002 if an option names a layer that is not there, found before anything runs; what a
        pass raises; P004 if a pass leaves the module invalid.
        """
        verify(module)
        check_order(self.flat(), module)
        check_patterns(_written(self.items), module)
        return _Run(module, context or Context(), instruments).items(self.items)

    def __str__(self) -> str:
        return ",".join(spell(item) for item in self.items)


def spell(item: Pass) -> str:
    """A pass as it stands in a pipeline's text."""
    return f"({item})" if isinstance(item, Pipeline) else spelling.spell(item)


def is_one(item: Pass) -> bool:
    """Whether a pass does its work itself, and does not stand for others."""
    inner = item.expand()
    return len(inner) == 1 and inner[0] is item


def _written(items: Sequence[Pass]) -> Iterator[Pass]:
    """The passes as they were written, whatever they stand for."""
    for item in items:
        yield from _written(item.items) if isinstance(item, Pipeline) else (item,)


def _flatten(items: Sequence[Pass]) -> Iterator[Pass]:
    for item in items:
        yield from (item,) if is_one(item) else _flatten(item.expand())


def _names(items: Sequence[Pass]) -> Iterator[str]:
    for item in items:
        if not isinstance(item, Pipeline):
            yield item.name
        if not is_one(item):
            yield from _names(item.expand())


def _until(items: Sequence[Pass], name: str) -> tuple[tuple[Pass, ...], bool]:
    head: list[Pass] = []
    for item in items:
        if item.name != name and not is_one(item):
            part, found = _until(item.expand(), name)
            if found:
                return (*head, Pipeline(part)), True
        head.append(item)
        if item.name == name:
            return tuple(head), True
    return tuple(head), False


def _chooses(item: Pass) -> bool:
    own = type(item).decide is not Pass.decide
    return own or (not is_one(item) and any(map(_chooses, item.expand())))


def _decided(items: Sequence[Pass], module: Module, context: Context) -> Iterator[Pass]:
    for item in items:
        if is_one(item):
            item.run_module(module, context)
            yield item
        else:
            inner = tuple(_decided(item.decide(module, context), module, context))
            yield Pipeline(inner) if _chooses(item) else item


@dataclass
class _Run:
    """One execution: runs passes, keeps records, calls instruments."""

    module: Module
    context: Context
    instruments: Sequence[Instrument]

    def items(self, items: Sequence[Pass]) -> list[Record]:
        return [self._item(item) for item in items]

    def _item(self, item: Pass) -> Record:
        if not is_one(item):
            start = time.perf_counter()
            try:
                records = tuple(self.items(item.decide(self.module, self.context)))
            except BitsError as error:
                raise error.of(item) from error
            changes = sum(record.changes for record in records)
            return Record(item, changes, time.perf_counter() - start, records)
        for instrument in self.instruments:
            instrument.before(item, self.module, self.context)
        try:
            record = self._run(item)
            for instrument in self.instruments:
                instrument.after(record, self.module, self.context)
        except Exception as error:  # whatever a pass or an instrument raises
            for instrument in self.instruments:
                instrument.failed(item, self.module, self.context, error)
            raise
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
