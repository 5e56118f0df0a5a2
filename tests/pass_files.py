"""Tests of passes as text files, which are the documentation's examples as well.

    What the example shows, in a sentence or two.

    == pipeline
    calibrate,quantize{activations=4}

    == samples                  calibration data, one array (samples, *shape) for each input
    x = [[[0, 1]], [[1, 3]]]

    == context                  other fields of `Context`
    lookup_bits = 8

    == before
    %x = input : float32[1x2]
    ...

    == after                    or `== error`
    ...

`samples` and `context` may be missing. `pytest tests/passes --regenerate` writes the last section.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lutra.ir.core import Module, Op, Value, op
from lutra.ir.errors import Error
from lutra.ir.ops import Lookup
from lutra.ir.parser import parse_module
from lutra.ir.text import text_of_module
from lutra.ir.types import Array, Int
from lutra.passes import Context, Pipeline


@op("example.square")
class Square(Op):
    """x * x, as a plugin might declare it; the examples of `decompose` hold one."""

    x: Value

    def infer(self) -> Int:
        x = self.x.int_type
        return Int.of(x.shape, 0, np.maximum(x.lo**2, x.hi**2))

    def eval(self, x: Array) -> Array:
        return x * x

    def decompose(self) -> Value:
        type = self.x.int_type
        base = -(1 << (type.bits - 1)) if type.signed else 0
        return Lookup(self.x, base, (base + np.arange(1 << type.bits)) ** 2).result


DATA = Path(__file__).parent / "passes" / "data"
SECTIONS = ("pipeline", "samples", "context", "before", "after", "error")


@dataclass(frozen=True)
class PassFile:
    """One example: `sections` by name, `title` in front of them."""

    path: Path
    title: str
    sections: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> PassFile:
        title, *parts = re.split(r"^== (\w+)\n", path.read_text(encoding="utf-8"), flags=re.M)
        names, bodies = parts[::2], parts[1::2]
        unknown = set(names) - {*SECTIONS}
        if unknown or len({*names}) < len(names) or not title.strip():
            raise ValueError(f"{path}: sections {names}")
        return cls(path, title.strip(), {n: b.strip() for n, b in zip(names, bodies, strict=True)})

    def write(self) -> None:
        parts = [f"== {name}\n{self.sections[name]}" for name in SECTIONS if name in self.sections]
        self.path.write_text("\n\n".join([self.title, *parts]) + "\n", encoding="utf-8")

    @property
    def pipeline(self) -> Pipeline:
        return Pipeline.parse(self.sections["pipeline"])

    @property
    def context(self) -> Context:
        lines = self.sections.get("context", "").splitlines()
        options = {name: json.loads(text) for name, text in (re.split(" *= *", s) for s in lines)}
        return Context(samples=self._samples(), **options)

    def _samples(self) -> dict[str, Array] | None:
        if "samples" not in self.sections:
            return None
        found = re.findall(r"(\w+) *= *(\[[^=]*\])", self.sections["samples"])
        return {name: np.array(json.loads(text), np.float32) for name, text in found}

    def before(self) -> Module:
        return parse_module(self.sections["before"])

    def outcome(self) -> tuple[str, str]:
        """The last section as it should be: its name and its text."""
        module = self.before()
        try:
            self.pipeline.execute(module, self.context)
        except Error as error:
            return "error", error.render()
        return "after", full_text(module)

    def regenerated(self) -> PassFile:
        name, text = self.outcome()
        kept = {k: v for k, v in self.sections.items() if k not in ("after", "error")}
        return replace(self, sections={**kept, name: text})


def full_text(module: Module) -> str:
    """The module with all its constants, as the parser reads it."""
    return text_of_module(module, limit=None).strip()


def all_files() -> list[Path]:
    return sorted(DATA.glob("*/*.txt"))
