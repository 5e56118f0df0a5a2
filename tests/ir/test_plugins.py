"""What other packages plug in is found by name, and fails alone."""

import sys

import pytest

from fake_packages import Install
from lutra.ir.errors import PipelineError
from lutra.ir.plugins import Plugins

GROUP = "lutra.things"


def things() -> Plugins:
    """Texts; Lutra has one itself."""
    return Plugins(
        GROUP,
        "thing",
        lambda name: ["lutra"] if name == "own" else [],
        lambda name, found: "" if isinstance(found, str) else "is no text",
    )


def test_nothing_is_imported_before_it_is_asked_for(install: Install) -> None:
    assert things().names() == []
    install("acme", {GROUP: "b = acme:text\na = acme:text"}, "text = 'hello'")
    assert things().names() == ["a", "b"]
    assert things().owners("a") == ["acme"]
    assert things().owners("own") == ["lutra"]
    assert things().owners("c") == []
    assert "acme" not in sys.modules
    assert things().load("a") == "hello"
    assert things().load("c") is None
    assert things().load("own") is None


def test_packages_may_come_later(install: Install) -> None:
    install("acme", {GROUP: "a = acme:text"}, "text = 'hello'")
    assert things().names() == ["a"]
    install("later", {GROUP: "z = later:text"}, "text = 'bye'")
    assert things().load("z") == "bye"


def test_a_clash_is_an_error_for_who_asks(install: Install) -> None:
    install("acme", {GROUP: "a = acme:text\nown = acme:text\nfine = acme:text"}, "text = 'hello'")
    install("other", {GROUP: "a = other:text"}, "text = 'hello'")
    with pytest.raises(PipelineError, match=r"P006.*acme and other both provide a thing 'a'"):
        things().load("a")
    with pytest.raises(PipelineError, match=r"P006.*lutra and acme both provide a thing 'own'"):
        things().load("own")
    assert things().load("fine") == "hello"
    assert set(things().broken()) == {"a", "own"}


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("import nowhere", "ModuleNotFoundError: No module named 'nowhere'"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("1 / 0", "ZeroDivisionError"),
        ("", "AttributeError.*'text'"),
        ("text = 3", "is no text: 3"),
        ("text = None", "is None"),
        (
            "from lutra.ir.errors import Error; raise Error('V001', 'oh')",
            r"Error: error\[V001\]: oh",
        ),
    ],
)
def test_a_broken_one_is_named(install: Install, source: str, why: str) -> None:
    install("acme", {GROUP: "a = acme:text"}, source)
    install("fine", {GROUP: "b = fine:text"}, "text = 'hello'")
    assert things().names() == ["a", "b"]
    with pytest.raises(PipelineError, match=f"P007.*thing 'a' of acme.*{why}"):
        things().load("a")
    assert things().load("b") == "hello"
    assert {name: error.code for name, error in things().broken().items()} == {"a": "P007"}
