"""What `lutra opt` shows of a pipeline while it runs."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

from lutra.ir.core import Module
from lutra.ir.errors import PipelineError, did_you_mean
from lutra.ir.naming import Names
from lutra.passes import Context, Pass, Pipeline, Record
from lutra.passes.bisect import Culprit
from lutra.passes.instruments import Instrument
from lutra.passes.pipeline import is_one, spell
from lutra.passes.validate import Validate


@dataclass
class Show(Instrument):
    """Prints the module, large arrays left out, behind some passes, and what each changed.

    where: which passes, numbered from 0 as they run. diff: whether to show changes.
    """

    where: Collection[int]
    diff: bool
    write: Callable[[str], None] = print
    _count: int = 0
    _text: str | None = field(default=None, repr=False)
    _names: Names = field(default_factory=Names, repr=False)

    def before(self, item: Pass, module: Module, context: Context) -> None:
        if self.diff and self._text is None:
            self._text = self._names.text(module)

    def after(self, record: Record, module: Module, context: Context) -> None:
        name = spell(record.item)
        if self._count in self.where:
            self.write(f"# after {name}\n{module}")
        self._count += 1
        if self._text is not None:
            before, self._text = self._text, self._names.text(module)
            if before != self._text:
                self.write(changes(before, self._text, name))


def changes(before: str, after: str, name: str) -> str:
    """A unified diff of two texts."""
    lines = (before.splitlines(), after.splitlines())
    return "\n".join(difflib.unified_diff(*lines, "before", f"after {name}", lineterm=""))


def places(pipeline: Pipeline, names: Collection[str]) -> set[int]:
    """Numbers of the passes, as they run, that end those of these names; `all` names all.

    Error P001 for a name that is not in the pipeline.
    """
    known = [*pipeline.names(), "all"]
    for name in names:
        if name not in known:
            message = f"the pipeline has no pass {name!r}"
            raise PipelineError("P001", message, help=did_you_mean(name, known))
    found: set[int] = set()

    def walk(items: Sequence[Pass], start: int) -> int:
        for item in items:
            end = start + 1 if is_one(item) else walk(item.expand(), start)
            if end > start and (item.name in names or (is_one(item) and "all" in names)):
                found.add(end - 1)
            start = end
        return start

    walk(pipeline.items, 0)
    return found


def compared(validation: Validate) -> Iterator[str]:
    """A line for each pass that was validated."""
    for name, comparison in validation.comparisons:
        count = "every input" if comparison.exhaustive else f"{comparison.samples} samples"
        yield f"validated {name:18} moves the outputs by {comparison.error:.3g} on {count}"
    for name in validation.skipped:
        yield f"not validated {name}: every sample leaves an assumed range; give typical ones by -c"


def explained(culprit: Culprit | None, eps: float) -> str:
    """What `bisect` found, and the rewrite as a diff."""
    if culprit is None:
        return f"the outputs stay within {eps:g} after every pass"
    return f"{culprit}\n{changes(culprit.before, culprit.after, spell(culprit.item))}"
