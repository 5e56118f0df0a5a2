"""Tests of passes as text files, which may be examples for a reader as well.

    What the example shows, in a sentence or two.

    == pipeline
    calibrate,quantize{activations=4}

    == samples                  calibration data, one array (samples, *shape) for each input
    x = [[[0, 1]], [[1, 3]]]

    == context                  other fields of `Context`; as prices, a backend's
    lookup_bits = 8

    == before
    %x = input : float32[1x2]
    ...

    == after                    or `== error`
    ...

`samples` and `context` may be missing.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lutra.backends import registry
from lutra.ir.core import Module
from lutra.ir.errors import Error
from lutra.ir.parser import parse_module
from lutra.ir.types import Array
from lutra.passes import Context, Pipeline
from lutra.pricing import prices_for
from lutra.testing.checks import assert_equal, check_pass, full_text

SECTIONS = ("pipeline", "samples", "context", "before", "after", "error")


@dataclass(frozen=True)
class PassFile:
    """One example: `sections` by name, `title` in front of them.

    `PassFile.read(path).check()` is a test; `PassFile.read(path).regenerated().write()` writes what
    the passes do now as what they should do.
    """

    path: Path
    title: str
    sections: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> PassFile:
        """Read an example. ValueError where the file has other sections, or says not what it is."""
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
        if "prices" in options:
            options["prices"] = prices_for(registry.find(options["prices"]), {})
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
        return "after", full_text(module).strip()

    def check(self, *, idempotent: bool = True) -> None:
        """Check that the passes do as the file says: `check_pass`, or the text of the error."""
        if "error" in self.sections:
            name, text = self.outcome()
            assert_equal(self.sections["error"], text, f"{self.path}: another {name}")
            return
        check_pass(
            self.before(),
            self.pipeline,
            self.sections["after"],
            context=self.context,
            idempotent=idempotent,
        )
        assert_equal(
            full_text(parse_module(self.sections["after"])).strip(),
            self.sections["after"],
            f"{self.path}: written in another form",
        )

    def regenerated(self) -> PassFile:
        """The example with what the passes do now."""
        name, text = self.outcome()
        kept = {k: v for k, v in self.sections.items() if k not in ("after", "error")}
        return replace(self, sections={**kept, name: text})
