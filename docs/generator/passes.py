"""Passes and pipelines."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import UnionType

from generator.markdown import fenced, first_paragraph, prose, table
from lutra.passes import Pass, Pipeline, ordering, registry, spelling
from lutra.passes.base import Contract
from lutra.testing import PassFile

EXAMPLES = Path(__file__).parents[2] / "tests" / "passes" / "data"


def built_in() -> dict[str, type[Pass]]:
    """Lutra's own passes by name, without the class of pipelines."""
    found = sorted(registry.built_in().items())
    return {name: cls for name, cls in found if cls is not Pipeline}


def index() -> str:
    rows = [
        (f"[`{name}`]({name}.md)", str(cls.contract), first_paragraph(cls))
        for name, cls in built_in().items()
    ]
    head = "One page for each pass that comes with Lutra, made from its class and its tests."
    return f"# Passes\n\n{head}\n\n{table(('pass', 'contract', 'does'), *rows)}\n"


def page(cls: type[Pass]) -> str:
    parts = [f"# `{cls.name}`", prose(cls), *_stands_for(cls), _facts(cls), *_options(cls)]
    parts += [*_rules(cls), *_examples(cls)]
    return "\n\n".join(parts) + "\n"


def _stands_for(cls: type[Pass]) -> Iterator[str]:
    inner = cls().expand()
    if any(type(item) is not cls for item in inner):
        yield "With its defaults it stands for"
        yield fenced(",\n".join(spelling.spell(item) for item in inner))


def _facts(cls: type[Pass]) -> str:
    lines = [f"- contract: {contract(cls.contract)}"]
    for title in ("requires", "provides", "removes"):
        names = ", ".join(sorted(getattr(cls, title)))
        if names:
            lines.append(f"- [{title}](../pipelines.md#order): {names}")
    lines.append(f"- class: `{cls.__module__}.{cls.__qualname__}`")
    return "\n".join(lines)


def contract(declared: Contract) -> str:
    words = {
        "exact": "exact; the same integers or floats for every input",
        "lossy": "lossy; results may change, and accuracy decides",
    }
    return words.get(str(declared), f"{declared}; relative to the largest output")


def _options(cls: type[Pass]) -> Iterator[str]:
    hints = typing.get_type_hints(cls)
    rows = [
        (f"`{f.name}`", _takes(hints[f.name]), f"`{spelling._spell_value(f.default)}`")
        for f in dataclasses.fields(cls)
    ]
    if rows:
        yield "## Options"
        yield table(("option", "takes", "default"), *rows)


def _takes(hint: typing.Any) -> str:
    """What an option takes, in words."""
    words = {int: "an integer", float: "a number", bool: "`true` or `false`", str: "a word"}
    found = []
    is_union = typing.get_origin(hint) in (typing.Union, UnionType)
    for kind in typing.get_args(hint) if is_union else (hint,):
        if typing.get_origin(kind) is typing.Literal:
            found += [f"`{word}`" for word in typing.get_args(kind)]
        elif typing.get_origin(kind) is tuple:
            found.append('a map such as `{"/conv*"=4,"*"=8}`')
        else:
            found.append(words.get(kind, "`none`"))
    return " or ".join(found)


def _rules(cls: type[Pass]) -> Iterator[str]:
    rules = getattr(import_module(cls.__module__), "RULES", ())
    if rules:
        yield "## Rules"
        yield table(
            ("rule", "rewrites"), *((f"`{r.__name__}`", f"`{first_paragraph(r)}`") for r in rules)
        )


def _examples(cls: type[Pass]) -> Iterator[str]:
    files = sorted((EXAMPLES / cls.name).glob("*.txt"))
    if files:
        yield "## Examples"
        yield f"These are tests of the pass, in `tests/passes/data/{cls.name}/`."
    for file in files:
        yield f"### {file.stem.replace('-', ' ').capitalize()}"
        yield from _example(PassFile.read(file))


def _example(example: PassFile) -> Iterator[str]:
    sections = example.sections
    yield example.title
    pipeline, before = f"`{sections['pipeline']}`", sections["before"]
    for name, what in (("samples", "calibration samples"), ("context", "a context")):
        if name in sections:
            yield f"With {what} of"
            yield fenced(sections[name])
    if sections.get("after") == before:
        yield f"{pipeline} leaves as it is"
        yield fenced(before)
        return
    yield f"{pipeline} {'makes of' if 'after' in sections else 'refuses'}"
    yield fenced(before)
    yield "this:" if "after" in sections else "with"
    yield fenced(sections["after"] if "after" in sections else sections["error"])


def named_pipelines() -> str:
    rows = [("pipeline", "stands for")]
    for name, cls in built_in().items():
        inner = cls().expand()
        if any(type(item) is not cls for item in inner):
            text = ",".join(spelling.spell(item) for item in inner)
            rows.append((f"[`{name}`](passes/{name}.md)", f"`{text}`"))
    return table(*rows)


def order() -> str:
    def named(title: str, fact: str) -> str:
        found = (n for n, cls in built_in().items() if fact in getattr(cls, title))
        return ", ".join(f"`{name}`" for name in found)

    rows = [
        (fact, meaning, named("provides", fact), named("requires", fact), named("removes", fact))
        for fact, meaning in ordering.FACTS.items()
    ]
    return table(("fact", "meaning", "provided by", "required by", "removed by"), *rows)
