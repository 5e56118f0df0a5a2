"""Dependencies point one way: see docs/decisions/0001-package-layout.md."""

import ast
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALLOWED = {
    "ir": {"ir"},
    "passes": {"passes", "ir"},
    "frontends": {"frontends", "ir"},
    "backends": {"backends", "ir"},
}


def imports(source: str, package: str) -> Iterator[str]:
    """Absolute names of all that `source`, a module in `package`, imports, inside functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def forbidden(name: str, layer: str) -> bool:
    """Whether a module in folder `layer` may not import `name`."""
    first, *rest = name.split(".")
    if first in ALLOWED:
        return True  # plain `ir`, `passes`, ...: not what gets installed
    return first == "lutra" and layer in ALLOWED and not {*rest[:1]} & ALLOWED[layer]


@pytest.mark.parametrize("layer", [*ALLOWED, "lutra", "tests", "benchmarks", "examples"])
def test_layer_imports_only_what_it_may(layer: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sorted((ROOT / layer).rglob("*.py"))
        for name in imports(
            path.read_text(encoding="utf-8"),
            ".".join(["lutra", *path.parent.relative_to(ROOT).parts]),
        )
        if forbidden(name, layer)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("source", "layer", "wrong"),
    [
        ("from lutra.ir import core", "ir", False),
        ("from . import core", "ir", False),
        ("def f():\n    from lutra.passes import fuse", "ir", True),
        ("from ..passes import fuse", "ir", True),
        ("from lutra import passes", "ir", True),
        ("from lutra import compile", "passes", True),
        ("import lutra", "backends", True),
        ("import lutra.backends", "frontends", True),
        ("import onnx", "frontends", False),
        ("from ir import core", "lutra", True),
        ("import lutra.passes", "lutra", False),
    ],
)
def test_forbidden_imports_are_seen(source: str, layer: str, wrong: bool) -> None:
    assert any(forbidden(name, layer) for name in imports(source, f"lutra.{layer}")) is wrong
