"""Operations of other packages are loaded when a text names them."""

import sys

import pytest

from fake_packages import Install
from lutra.ir import registry
from lutra.ir.errors import PipelineError, TextError
from lutra.ir.ops import Neg
from lutra.ir.parser import parse_graph

TWICE = """
from lutra.ir.core import Op, Value, op
from lutra.ir.types import Int

@op("acme.twice")
class Twice(Op):
    '''x + x'''
    x: Value
    def infer(self):
        x = self.x.int_type
        return Int.of(x.shape, 2 * x.lo, 2 * x.hi)
    def eval(self, x):
        return 2 * x
"""
POINT = {"lutra.ops": "acme.twice = acme:Twice"}
TEXT = """%x = input : u2[] in [0, 3]
%0 = acme.twice %x : u3[] in [0, 6]
return %0
"""


def test_the_parser_loads_what_a_text_names(install: Install) -> None:
    install("acme", POINT, TWICE)
    assert "acme.twice" in registry.names()
    assert "acme" not in sys.modules
    assert str(parse_graph(TEXT)) == TEXT
    assert registry.find("acme.twice") is not None
    assert registry.find("neg") is Neg
    assert registry.find("nothing") is None


def test_a_misspelt_one_is_suggested(install: Install) -> None:
    install("acme", POINT, TWICE)
    with pytest.raises(TextError, match=r"line 2.*no operation 'acme.twise'.*'acme.twice'"):
        parse_graph(TEXT.replace("twice", "twise"))
    assert "acme" not in sys.modules


def test_a_broken_one_takes_nothing_down(install: Install) -> None:
    install("acme", POINT, "import nowhere")
    with pytest.raises(PipelineError, match=r"P007.*op 'acme.twice' of acme: .*nowhere"):
        parse_graph(TEXT)
    parse_graph("%x = input : u2[] in [0, 3]\n%0 = neg %x\nreturn %0")


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (TWICE.replace("acme.twice", "acme.double"), "calls itself 'acme.double'"),
        (TWICE.replace('@op("acme.twice")', ""), "is not declared by `@op`"),
        ("def Twice(x): return x", "is not declared by `@op`"),
    ],
)
def test_a_plugin_must_declare_it(install: Install, source: str, why: str) -> None:
    install("acme", POINT, source)
    with pytest.raises(PipelineError, match=f"P007.*{why}"):
        parse_graph(TEXT)


def test_clashes(install: Install) -> None:
    install("acme", {"lutra.ops": "acme.twice = acme:Twice\nneg = acme:Twice"}, TWICE)
    install("other", POINT, TWICE)
    with pytest.raises(PipelineError, match=r"P006.*acme and other both provide an op"):
        parse_graph(TEXT)
    with pytest.raises(PipelineError, match=r"P006.*lutra and acme both provide an op 'neg'"):
        parse_graph("%x = input : u2[] in [0, 3]\n%0 = neg %x\nreturn %0")


def test_a_clash_that_no_entry_point_tells(install: Install) -> None:
    install("acme", POINT, TWICE + TWICE.replace("acme.twice", "neg"))
    with pytest.raises(PipelineError, match=r"P006.*lutra.ir.ops.linear and acme both.*'neg'"):
        parse_graph(TEXT)
