"""Backends by name: Lutra's own, third parties', and what goes wrong with them."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lutra.backends import registry
from lutra.backends.base import statistics_of
from lutra.ir.errors import BackendError, PipelineError
from lutra.ir.parser import parse_graph

Install = Callable[[str, str, str], None]

GOOD = """
from lutra.backends.base import Limits
name, limits = "slate", Limits(lookup_bits=4)
class Executable:
    def run(self, *inputs):
        return inputs
def emit(circuit, **options):
    return Executable()
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """install(package, backend, source): a package that provides one backend as a module."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(package: str, backend: str, source: str) -> None:
        (tmp_path / f"{package}.py").write_text(source)
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[lutra.backends]\n{backend} = {package}\n")
        monkeypatch.delitem(sys.modules, package, raising=False)

    return make


def test_own_backends_are_found_without_importing_them() -> None:
    assert {"concrete", "numpy"} <= set(registry.built_in())
    assert not {"base", "registry"} & set(registry.names())
    assert registry.find("numpy").name == "numpy"


@pytest.mark.parametrize("name", registry.built_in())
def test_own_backends_are_what_they_say(name: str) -> None:
    backend = registry.find(name)
    assert backend.name == name
    assert backend.limits.lookup_bits > 0
    assert callable(backend.emit)


def test_a_plugin_is_found(install: Install) -> None:
    install("lutra_slate", "slate", GOOD)
    backend = registry.find("slate")
    assert "slate" in registry.names()
    assert backend.limits.lookup_bits == 4
    executable = backend.emit(parse_graph("%x = input : u1[] in [0, 1]\nreturn %x"))
    assert statistics_of(executable) == {}


def test_an_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(BackendError, match=r"B001.*'nunpy'(?s:.*)did you mean 'numpy'"):
        registry.find("nunpy")


@pytest.mark.parametrize("names", [("numpy",), ("slate", "slate")])
def test_a_clash_names_both_packages(install: Install, names: tuple[str, ...]) -> None:
    for number, name in enumerate(names):
        install(f"lutra_number{number}", name, GOOD)
    with pytest.raises(PipelineError, match=r"P006.*(lutra|number0) and lutra_number\d both"):
        registry.find(names[0])
    assert registry.find("concrete").name == "concrete"  # others are not in the way


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("import nothing_of_that_name", "No module named 'nothing_of_that_name'"),
        ("raise RuntimeError('no licence')", "no licence"),
        ("name = 'slate'", "has no 'limits'"),
        (GOOD.replace("def emit", "def omit"), "has no 'emit'"),
    ],
)
def test_a_broken_plugin_is_named(install: Install, source: str, why: str) -> None:
    install("lutra_slate", "slate", source)
    with pytest.raises(PipelineError, match=f"P007.*'slate' of lutra_slate.*{why}"):
        registry.find("slate")
