"""What `cheapest` and `default` choose, and that they say so."""

from pathlib import Path

import numpy as np
import pytest

import lutra
from lutra.ir.analysis import look_ups
from lutra.ir.core import Graph
from lutra.ir.errors import PipelineError
from lutra.ir.parser import parse_module
from lutra.passes import Context, Pipeline
from lutra.passes.bisect import bisect, same_outputs
from lutra.passes.instruments import Snapshots

MODELS = Path(__file__).parents[2] / "examples" / "models"

NET = """
%x = input : float32[2]
%w = constant value=[[1.0, -0.5], [0.5, 1.0]] : float32[2x2]
%0 = onnx.MatMul %x, %w : float32[2]  loc "fc1"
%1 = onnx.Sin %0 : float32[2]  loc "sin"
%2 = onnx.MatMul %1, %w : float32[2]  loc "fc2"
return %2, names=["y"]
"""
ROUNDED = ", ".join(f'"{bits}"="wide{{rounding={bits}}}"' for bits in (3, 5, 7))


def context(samples: int = 200) -> Context:
    x = np.random.default_rng(0).uniform(-1, 1, (samples, 2)).astype(np.float32)
    return Context(samples={"x": x})


def widest(circuit: Graph) -> int:
    return max(site.bits for site in look_ups(circuit))


@pytest.mark.parametrize(("tolerance", "bits"), [(0.0, 7), (0.04, 5), (0.5, 3)])
def test_the_cheapest_within_the_tolerance_runs(tolerance: float, bits: int) -> None:
    module, told = parse_module(NET), context()
    text = f"cheapest{{alternatives={{{ROUNDED}}},tolerance={tolerance}}}"
    pipeline = Pipeline.parse(text)
    assert Pipeline.parse(str(pipeline)) == pipeline
    pipeline.execute(module, told)
    assert widest(module.circuit) == bits
    (choice,) = told.notes.choices
    assert choice.startswith(f"{bits}, the cheapest within {tolerance:g} of the least error (3: ")
    again = parse_module(NET)
    pipeline.execute(again, context())
    assert str(again) == str(module)


def test_with_few_samples_the_first_runs_untried() -> None:
    module, told = parse_module(NET), context(31)
    Pipeline.parse(f"cheapest{{alternatives={{{ROUNDED}}}}}").execute(module, told)
    assert widest(module.circuit) == 3
    assert told.notes.choices == []


def test_what_fails_is_not_chosen() -> None:
    module, told = parse_module(NET), context()
    odd = '"odd"="quantize,default{rounding=2}"'
    Pipeline.parse(f"cheapest{{alternatives={{{ROUNDED}, {odd}}},tolerance=9}}").execute(
        module, told
    )
    assert widest(module.circuit) == 3
    assert "odd" not in told.notes.choices[0]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ("alternatives={}", "P002"),
        ("tolerance=-1", "P002"),
        ('alternatives={"a"="claen"}', "P001"),
        ('alternatives={"a"=3}', "P002"),
    ],
)
def test_options_are_checked(options: str, code: str) -> None:
    with pytest.raises(PipelineError, match=code):
        Pipeline.parse(f"cheapest{{{options}}}")


def test_tools_see_the_passes_that_are_chosen() -> None:
    module, told = parse_module(NET), context()
    pipeline = Pipeline.parse(f"clean,cheapest{{alternatives={{{ROUNDED}}},tolerance=0.04}}")
    decided = pipeline.decided(module, told)
    assert str(module) == str(parse_module(NET))
    assert "(wide{rounding=5})" in str(decided)
    assert Pipeline.parse("clean,dce").decided(module) == Pipeline.parse("clean,dce")
    seen, shown = parse_module(NET), Snapshots()
    pipeline.execute(seen, told, [shown])
    again = parse_module(NET)
    decided.execute(again, context())
    assert str(again) == str(seen)
    culprit = bisect(decided, module, same_outputs(module, told, eps=1e-6), context())
    assert culprit is not None
    assert culprit.item.name == "quantize"


def test_default_chooses_and_says_so(tmp_path: Path) -> None:
    with np.load(MODELS / "iris_fc.npz") as data:
        model = lutra.compile(MODELS / "iris_fc.onnx", data["x_train"])
    (choice,) = model.choices
    assert "narrow, 3 bits: error" in choice
    assert f"chosen    {choice}" in str(model.report(price=False))
    model.save(tmp_path / "iris.lutra")
    assert lutra.load(tmp_path / "iris.lutra").choices == model.choices


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("default{rounding=6}", "wide"),
        ("default{rounding=none,weights=3}", "narrow"),
        ("default", "cheapest"),
    ],
)
def test_default_stands_for_one_of_two_roads(text: str, name: str) -> None:
    (item,) = Pipeline.parse(text).items[0].expand()
    assert item.name == name
