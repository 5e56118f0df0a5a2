"""Writes the parts of these pages that derive from the code: `python docs/generate.py`.

`docs/passes/` is written whole. In the other pages the text between

    <!-- generated: NAME -->
    <!-- end -->

is replaced by what `PARTS[NAME]` gives. With `--check` nothing is written, and the exit status
tells whether a page is out of date; tests/test_docs.py asks for that.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from generator import ir, passes, reference
from generator.markdown import grammar_of

from lutra.ir import parser
from lutra.passes import spelling

DOCS = Path(__file__).parent
MARKED = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

PARTS: dict[str, Callable[[], str]] = {
    "ir-level-float": lambda: ir.level(""),
    "ir-level-quantized": lambda: ir.level(ir.QUANTIZED),
    "ir-level-integer": lambda: ir.level(ir.INTEGER),
    "ir-grammar": lambda: grammar_of(parser),
    "ir-error": lambda: reference.example_error(ir.bad_text),
    "operations": ir.operations,
    "pipeline-grammar": lambda: grammar_of(spelling),
    "named-pipelines": passes.named_pipelines,
    "order": passes.order,
    "operators": reference.operators,
    "node-cases": reference.node_cases,
    "nondecreasing": reference.nondecreasing,
    "error-example": lambda: reference.example_error(ir.too_wide),
    "error-codes": reference.error_codes,
    "error-classes": reference.error_classes,
    "metrics": reference.metric_table,
}


def main(arguments: list[str]) -> int:
    wanted = dict(pages())
    stale = [path for path, text in wanted.items() if _text(path) != text]
    stale += [path for path in (DOCS / "passes").glob("*.md") if path not in wanted]
    for path in stale:
        print(path.relative_to(DOCS.parent))
    if "--check" in arguments:
        return 1 if stale else 0
    for path in stale:
        if path in wanted:
            path.parent.mkdir(exist_ok=True)
            path.write_text(wanted[path], encoding="utf-8")
        else:
            path.unlink()
    return 0


def pages() -> Iterator[tuple[Path, str]]:
    """Every page with generated text, and what it should hold."""
    for path in sorted(DOCS.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        if MARKED.search(text):
            yield path, MARKED.sub(lambda m: f"{m[1]}{PARTS[m[2]]()}\n{m[3]}", text)
    yield DOCS / "passes" / "index.md", passes.index()
    for name, cls in passes.built_in().items():
        yield DOCS / "passes" / f"{name}.md", passes.page(cls)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
