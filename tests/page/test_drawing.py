"""Circuits as pictures and as files for other programs."""

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import onnx
import onnxruntime
import pytest

import lutra
from lutra.ir.parser import parse_graph
from lutra.page.drawing import Drawing
from lutra.page.export import export
from small_models import FEW_BITS, mlp, points

BRANCHES = """
%x = input : u3[2] in [0, 7]
%0 = lookup %x, base=0, table=[3, 1, 2, 0, 2, 2, 5, 3]  loc "<&\\"a\\">"
%1 = lookup %x, base=0, table=[0, 1, 2, 3, 4, 5, 6, 7]
%2 = add %0, %1
return %2
"""
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def model() -> lutra.Model:
    return lutra.compile(mlp(), points(), FEW_BITS)


def test_a_picture_shows_every_operation_and_its_price() -> None:
    graph = parse_graph(BRANCHES)
    (_, dear, cheap, *_) = graph.ops
    root = ElementTree.fromstring(Drawing(graph, {dear: 4.0, cheap: 1.0}).svg())
    boxes = root.findall(f"{SVG}g")
    titles = [box.findtext(f"{SVG}title") or "" for box in boxes]
    assert len(boxes) == len(list(graph.ops))
    assert titles[1].startswith('<&"a">\n%0 = lookup')
    assert titles[1].endswith("price 4")
    heat = [box.findall(f"{SVG}rect[@class='heat']") for box in boxes]
    assert [float(rects[0].get("opacity", "0")) for rects in heat if rects] == [0.4, 0.145]
    assert len(root.findall(f"{SVG}path")) == 5


def test_dot_has_every_operation_and_edge() -> None:
    graph = parse_graph(BRANCHES)
    text = Drawing(graph, {}).dot()
    assert len(re.findall(r"^  n\d+ \[label=", text, re.MULTILINE)) == len(list(graph.ops))
    assert len(re.findall(r"^  n\d+ -> n\d+;", text, re.MULTILINE)) == 5
    assert r"<&\"a\">" in text


def test_the_onnx_file_computes_the_circuit(model: lutra.Model, tmp_path: Path) -> None:
    path = tmp_path / "circuit.onnx"
    model.plot().save(path)
    onnx.checker.check_model(path)
    session = onnxruntime.InferenceSession(path)
    q = model.encode(points()[:5])
    names = [entry.name for entry in session.get_inputs()]
    found = session.run(None, dict(zip(names, q, strict=True)))
    for array, expected in zip(found, model.evaluate(q), strict=True):
        np.testing.assert_array_equal(array, expected)


def test_files_by_their_endings(model: lutra.Model, tmp_path: Path) -> None:
    drawing = model.plot()
    for name in ("a.svg", "a.dot"):
        export(drawing, tmp_path / name)
    assert ElementTree.parse(tmp_path / "a.svg").getroot().tag == f"{SVG}svg"
    assert (tmp_path / "a.dot").read_text(encoding="utf-8").startswith("digraph")
    with pytest.raises(lutra.Error, match=r"a.gif names no format"):
        export(drawing, tmp_path / "a.gif")


def test_notebooks_show_models_and_pictures(model: lutra.Model) -> None:
    assert "<svg" in model.plot()._repr_html_()
    shown = model._repr_html_()
    assert "<table>" in shown
    assert str(model.signature).replace(">", "&gt;") in shown
    linear = lutra.compile(mlp(), points(), FEW_BITS).report(price=False)
    assert f"<th>{linear.pbs}</th>" in linear._repr_html_()
