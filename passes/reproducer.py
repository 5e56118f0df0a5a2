"""A folder with all that is needed to see a failure again."""

from __future__ import annotations

import json
import platform
import shlex
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lutra.ir.core import Module
from lutra.ir.errors import Error
from lutra.ir.files import read_module, write_arrays, write_module
from lutra.passes import registry
from lutra.passes.base import Context, Pass
from lutra.passes.instruments import Instrument
from lutra.passes.pipeline import Pipeline, spell
from lutra.passes.validate import Validate

PACKAGES = ("lutra", "concrete-python", "numpy", "onnx", "onnxruntime")


@dataclass
class Reproducer(Instrument):
    """On failure, writes the module as it was before the failing pass, and how to run that again.

    module.lutra-ir     the module's text; module.lutra-ir.npz its large arrays
    samples.npz         the calibration samples, if there were any
    error.txt           the error
    versions.json       Python and packages
    command.txt         the command that replays the failure, in that folder

    Before it is written, the failure is tried again on the files alone. Where it does not come
    again, since a pass before has left something in the context, the files hold the module as it
    was at the beginning, and the command names all passes up to the failing one.

    validate: the `Validate` of the same run, if there is one: what it finds is replayed by it.
    """

    directory: Path
    validate: Validate | None = None
    _first: Module | None = field(default=None, repr=False)
    _before: Module | None = field(default=None, repr=False)
    _items: list[Pass] = field(default_factory=list, repr=False)

    def before(self, item: Pass, module: Module, context: Context) -> None:
        self._before = module.clone()
        self._first = self._first or self._before
        self._items.append(item)

    def failed(self, item: Pass, module: Module, context: Context, error: Exception) -> None:
        if self._first is None or self._before is None:
            return
        folder = Path(self.directory)
        folder.mkdir(parents=True, exist_ok=True)
        if context.samples:
            write_arrays(folder / "samples.npz", context.samples)
        path, items = folder / "module.lutra-ir", [item]
        write_module(self._before, path)
        if len(self._items) > 1 and not self._comes_again(path, item, context, error):
            items = self._items
            write_module(self._first, path)
        (folder / "command.txt").write_text(self._command(items, context, error) + "\n")
        (folder / "error.txt").write_text(_text(error) + "\n")
        (folder / "versions.json").write_text(json.dumps(_versions(items), indent=2) + "\n")

    def _comes_again(self, path: Path, item: Pass, context: Context, error: Exception) -> bool:
        """Whether the pass alone fails in the same way on what is in the files."""
        fresh = Context(context.samples, context.lookup_bits, context.value_bits, context.backend)
        try:
            Pipeline((item,)).execute(read_module(path), fresh, self._checks(error))
        except Exception as again:  # whatever the pass raises
            return type(again) is type(error) and _code(again) == _code(error)
        return False

    def _checks(self, error: Exception) -> list[Instrument]:
        if _code(error) != "P010":
            return []
        used = self.validate or Validate()
        return [Validate(used.samples, used.seed)]

    def _command(self, items: Sequence[Pass], context: Context, error: Exception) -> str:
        words = ["lutra", "opt", "module.lutra-ir", "--pipeline", ",".join(map(spell, items))]
        default = Context()
        for name in ("backend", "lookup_bits", "value_bits"):
            if getattr(context, name) != getattr(default, name):
                words += [f"--{name.replace('_', '-')}", str(getattr(context, name))]
        if context.samples:
            words += ["--calibration", "samples.npz"]
        if self._checks(error):
            used, usual = self.validate or Validate(), Validate()
            words.append("--validate")
            if used.samples != usual.samples:
                words += ["--samples", str(used.samples)]
            if used.seed != usual.seed:
                words += ["--seed", str(used.seed)]
        return "\n".join([*_missing(items), shlex.join(words)])


def _missing(items: Sequence[Pass]) -> list[str]:
    """A remark on each pass that `lutra opt` does not find by its name."""
    classes = dict.fromkeys(type(item) for item in items if not isinstance(item, Pipeline))
    return [
        f"# {cls.__module__}.{cls.__qualname__} is no installed pass: "
        f"make it one by an entry point of the group lutra.passes named {cls.name!r}"
        for cls in classes
        if not _is_installed(cls)
    ]


def _is_installed(cls: type[Pass]) -> bool:
    try:
        return registry.find(cls.name) is cls
    except Error:
        return False


def _code(error: Exception) -> str:
    return error.code if isinstance(error, Error) else ""


def _text(error: Exception) -> str:
    if isinstance(error, Error):
        return error.render()
    return "".join(traceback.format_exception(error)).rstrip()


def _versions(items: Sequence[Pass]) -> dict[str, str]:
    """Python, Lutra, what it computes with, and the packages that the passes are from."""
    owners = [owner for item in items for owner in registry.PASSES.owners(item.name)]
    names = dict.fromkeys([*PACKAGES, *owners])
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
