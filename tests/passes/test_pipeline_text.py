"""Pipelines have one spelling, and what is wrong in a text is pointed at."""

from __future__ import annotations

import dataclasses
import typing
from types import NoneType, UnionType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lutra.ir.core import Module
from lutra.ir.errors import PipelineError
from lutra.ir.parser import parse_module
from lutra.passes import Context, Exact, Pass, Pipeline, registry
from lutra.passes.spelling import make


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Values that an option of this type can have."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (UnionType, typing.Union):
        return st.one_of(*map(values_of, arguments))
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if origin is tuple:
        pairs = st.tuples(st.text(max_size=5), st.integers(2, 8))
        return st.lists(pairs, max_size=3).map(tuple)
    return {
        bool: st.booleans(),
        int: st.integers(1, 99),
        float: st.floats(0.0, 100.0) | st.integers(0, 9),
        str: st.text(max_size=5) | st.sampled_from(["inf", "none", "true", "cse", "a-b"]),
        NoneType: st.none(),
    }[hint]


@dataclasses.dataclass(frozen=True)
class Named(Pass):
    """A pass with the options that ours do not have."""

    name = "named"
    contract = Exact
    label: str = ""
    limit: float = 1.0


@st.composite
def passes(draw: st.DrawFn) -> Pass:
    cls = draw(st.sampled_from([registry.find(name) for name in registry.names()] + [Named]))
    hints = typing.get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls)]
    chosen = draw(st.lists(st.sampled_from(names), unique=True)) if names else []
    options = {name: draw(values_of(hints[name])) for name in chosen}
    try:
        return make(cls, options)
    except PipelineError:
        return cls()


pipelines = st.recursive(
    st.lists(passes(), max_size=4).map(lambda items: Pipeline(tuple(items))),
    lambda inner: st.lists(inner | passes(), max_size=3).map(lambda p: Pipeline(tuple(p))),
    max_leaves=6,
)


@pytest.fixture(autouse=True)
def _named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.built_in(), "named", Named)


@given(pipelines)
def test_text_reads_back(pipeline: Pipeline) -> None:
    assert Pipeline.parse(str(pipeline)) == pipeline
    assert str(Pipeline.parse(str(pipeline))) == str(pipeline)


@given(pipelines)
def test_space_does_not_matter(pipeline: Pipeline) -> None:
    text = str(pipeline)
    if '"' not in text:
        for sign in "{}(),=":
            text = text.replace(sign, f" {sign}\n")
        assert Pipeline.parse(text) == pipeline


def test_defaults_are_not_spelt() -> None:
    assert str(Pipeline.parse("round{bits=6,exact=false}")) == "round"
    assert str(Pipeline.parse('round{exact=true,bits={"fc*"=4,"*"=8}}')) == (
        'round{bits={"fc*"=4,"*"=8},exact=true}'
    )


def test_built_in_python() -> None:
    found = registry.find("cse")()
    assert Pipeline.of("cse") == Pipeline.of(found) == Pipeline.of([found]) == Pipeline((found,))
    assert Pipeline.of(Pipeline((found,))) == Pipeline((found,))


@pytest.mark.parametrize(
    ("text", "code", "mark", "words"),
    [
        ("clean,rond{bits=4}", "P001", 6, "did you mean 'round'"),
        ("clean,round{bit=4}", "P002", 6, "did you mean 'bits'"),
        ("cse{bits=4}", "P002", 0, "it has no options"),
        ("round{bits=four}", "P002", 0, "it takes int or a map such as"),
        ("round{exact=1}", "P002", 0, "it takes bool"),
        ("round{bits=99}", "P002", 0, "not within 2 to 16"),
        ('round{bits={"*"=x}}', "P002", 0, "'x'"),
        ("ranges{margin=-1}", "P002", 0, "not negative"),
        ("calibrate{method=median}", "P002", 0, "it takes minmax or"),
        ("clean cse", "P003", 6, "`,` or the end"),
        ("clean,,cse", "P003", 6, "the name of a pass"),
        ("clean,", "P003", 6, "the name of a pass"),
        ("clean;", "P003", 5, "is expected"),
        ("(clean", "P003", 6, "`)`"),
        ("clean)", "P003", 5, "`,` or the end"),
        ("round{bits}", "P003", 10, "`=`"),
        ("round{=4}", "P003", 6, "a name or `}`"),
        ("round{bits=", "P003", 11, "a value"),
        ("round{bits=4", "P003", 12, "`,`"),
        ("round{bits=4,bits=5}", "P003", 19, "one value for `bits`"),
        (r'round{bits={"\q"=4}}', "P003", 12, "a JSON string"),
    ],
)
def test_what_is_wrong_is_pointed_at(text: str, code: str, mark: int, words: str) -> None:
    with pytest.raises(PipelineError) as caught:
        Pipeline.parse(text)
    assert caught.value.code == code
    assert caught.value.lines == (text, " " * mark + "^")
    assert words in str(caught.value)


def small() -> Module:
    return parse_module("%x = input : u2[2] in [0, 3]\n%0 = neg %x\nreturn %0")


@dataclasses.dataclass(frozen=True)
class Breaks(Pass):
    """Leaves a use of what is not in the graph."""

    name = "breaks"
    contract = Exact

    def run_module(self, module: Module, context: Context) -> int:
        op = next(op for op in module.main.ops if op.operands)
        module.main._unlink(op)
        return 1


def test_what_a_pass_breaks_is_found() -> None:
    with pytest.raises(PipelineError, match=r"P004.*pass `breaks` left the module invalid"):
        Pipeline.of(Breaks()).execute(small())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fuse", "`fuse` requires `regions`"),
        ("quantize,calibrate", "put `calibrate` before `quantize`"),
        ("partition,calibrate", "put `calibrate` before `partition`"),
    ],
)
def test_the_order_is_checked_first(text: str, words: str) -> None:
    module = small()
    before = str(module)
    with pytest.raises(PipelineError, match=r"P009") as caught:
        Pipeline.parse(f"clean,{text}").execute(module)
    assert words in str(caught.value)
    assert str(module) == before
