"""Passes and pipelines of other packages."""

import sys

import pytest

from fake_packages import Install
from lutra.ir.errors import PipelineError
from lutra.passes import Pipeline, registry

PASSES = """
from dataclasses import dataclass
from lutra.passes import Exact, Pass

@dataclass(frozen=True)
class Nothing(Pass):
    '''Change nothing.'''
    name = "nothing"
    contract = Exact
    times: int = 1
    def run(self, graph, rewriter, context):
        pass

slim = "clean,(nothing{times=2},cse)"
circle = "clean,circle"
"""
POINTS = {
    "lutra.passes": "nothing = acme:Nothing",
    "lutra.pipelines": "slim = acme:slim\ncircle = acme:circle",
}


def test_our_own() -> None:
    assert {"clean", "cse", "default", "fuse"} <= set(registry.names())
    assert "pipeline" not in registry.names()  # which has no name in pipelines
    assert registry.find("cse").name == "cse"


def test_a_pass_is_the_equal_of_ours(install: Install) -> None:
    install("acme", POINTS, PASSES)
    assert "nothing" in registry.names()
    assert "acme" not in sys.modules
    assert str(Pipeline.parse("cse,nothing{times=3},dce")) == "cse,nothing{times=3},dce"
    with pytest.raises(PipelineError, match=r"P001.*'noting'(?s:.*)did you mean 'nothing'"):
        Pipeline.parse("noting")
    with pytest.raises(PipelineError, match=r"P002.*`nothing` has no option 'time'"):
        Pipeline.parse("nothing{time=3}")


def test_a_pipeline_stands_for_its_text(install: Install) -> None:
    install("acme", POINTS, PASSES)
    pipeline = Pipeline.parse("slim,dce")
    assert str(pipeline) == "(clean,(nothing{times=2},cse)),dce"
    assert Pipeline.parse(str(pipeline)) == pipeline
    with pytest.raises(PipelineError, match=r"P002.*pipeline `slim` has no options"):
        Pipeline.parse("slim{times=2}")
    with pytest.raises(PipelineError, match=r"P003.*pipeline `circle` holds itself"):
        Pipeline.parse("circle")
    with pytest.raises(PipelineError, match=r"P001(?s:.*)did you mean 'slim'"):
        Pipeline.parse("slm")


@pytest.mark.parametrize(
    ("points", "source", "why"),
    [
        ({"lutra.passes": "a = acme:x"}, "x = 3", "pass 'a' of acme is no Pass class: 3"),
        ({"lutra.passes": "a = acme:Nothing"}, PASSES, "calls itself 'nothing'"),
        ({"lutra.passes": "a = acme:x"}, "import nowhere", "pass 'a' of acme: .*nowhere"),
        ({"lutra.pipelines": "a = acme:x"}, "x = 3", "pipeline 'a' of acme is no text: 3"),
    ],
)
def test_a_broken_plugin_is_named(
    install: Install, points: dict[str, str], source: str, why: str
) -> None:
    install("acme", points, source)
    with pytest.raises(PipelineError, match=f"P007.*{why}"):
        Pipeline.parse("a")
    assert str(Pipeline.parse("clean")) == "clean"


def test_clashes_name_both_packages(install: Install) -> None:
    points = "cse = acme:Nothing\nnothing = acme:Nothing\nonce = acme:Nothing"
    install("acme", {"lutra.passes": points, "lutra.pipelines": "once = acme:slim"}, PASSES)
    install("other", {**POINTS, "lutra.pipelines": "clean = other:slim"}, PASSES)
    for name, both in {
        "cse": "lutra and acme both provide a pass",
        "nothing": "acme and other both provide a pass",
        "clean": "lutra and other both provide a pipeline",
        "once": "acme and acme both provide a pipeline",
    }.items():
        with pytest.raises(PipelineError, match=f"P006.*{both} '{name}'"):
            Pipeline.parse(name)
    assert str(Pipeline.parse("dce")) == "dce"
