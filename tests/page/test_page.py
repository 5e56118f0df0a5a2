"""Reports as pages."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import lutra
from lutra.cli import app
from lutra.ir.analysis import look_ups
from lutra.ir.interpreter import Interpreter
from lutra.ir.ops import Lookup
from lutra.ir.parser import parse_graph
from lutra.page.charts import HIGH, TABLES, WIDE, bars, curves
from lutra.page.evidence import Evidence, Histogram, histograms, ladder, rerun
from lutra.page.page import page, write
from small_models import FEW_BITS, mlp, points

ROOT = Path(__file__).parents[2]
IRIS = ROOT / "examples" / "models" / "iris_fc.npz"


@pytest.fixture(scope="module")
def model() -> lutra.Model:
    return lutra.compile(mlp(), points(), FEW_BITS)


class Tags(HTMLParser):
    """Counts tags, and keeps whatever loads something from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [str(v) for name, v in attrs if name in ("src", "href", "srcset", "data")]
        if tag not in ("meta", "br", "rect", "path"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("rect", "path"):
            assert self.open.pop() == tag


def test_a_page_stands_alone(model: lutra.Model) -> None:
    text = page(model, Evidence(inputs=points()))
    tags = Tags(text)
    assert not tags.open
    assert not tags.loads
    assert not re.search(r"url\((?!#)|@import|https?://(?!www\.w3\.org/2000/svg)", text)
    for layer in model.report().layers:
        assert f">{layer.label}</td>" in text
    assert str(model.pipeline) in text


def test_names_are_escaped() -> None:
    module = lutra.compile(mlp(), points(), FEW_BITS).module
    for op in module.circuit.ops:
        op.loc = ("<script>alert(1)</script>",)
    text = page(lutra.Model(module, pipeline="</pre><b>", backend="numpy"))
    assert "<script>alert" not in text
    assert "</pre><b>" not in text


def test_histograms_count_what_look_ups_read(model: lutra.Model) -> None:
    x = points()
    found = histograms(model, model.signature.arrange(x).arrays)
    (site, *_) = look_ups(model.module.circuit)
    source = site.op.operands[0].owner
    read = source.operands[0] if source.opname == "round" else site.op.operands[0]
    (values,) = Interpreter(model.module.circuit, [read]).run(list(model.encode(x)))
    histogram = found[site.op]
    inside = (values >= histogram.lo) & (values <= histogram.hi)
    assert (histogram.lo, histogram.hi) == (read.int_type.min, read.int_type.max)
    assert histogram.counts.sum() == inside.sum()
    assert histogram.below + histogram.above == (~inside).sum()


def test_bars_and_curves_stay_in_their_area() -> None:
    histogram = Histogram(-4, 3)
    histogram.add(np.array([-9, -4, -4, 0, 3, 8]))
    assert (histogram.below, histogram.above) == (1, 1)
    drawn = bars(histogram)
    assert drawn.outside == "33.33%"
    assert max(height for *_, height in drawn.rectangles) == HIGH
    table = np.arange(30 * 4).reshape(30, 4).tolist()
    graph = parse_graph(
        f"%x = input : u2[30] in [0, 3]\n%0 = lookup %x, base=0, table={table}\nreturn %0"
    )
    (op,) = graph.of(Lookup)
    shown = curves(op)
    assert (shown.tables, len(shown.paths)) == (30, TABLES)
    assert (shown.least, shown.most) == (0, 119)
    assert all(path.endswith(f"H{WIDE}") for path in shown.paths)


def test_the_ladder_is_what_predictions_give() -> None:
    data = np.load(IRIS)
    x, y = data["x_test"], data["y_test"]
    source = IRIS.with_suffix(".onnx")
    model = lutra.compile(source, data["x_train"], "default{weights=4,rounding=4}")
    evidence = Evidence(x, y, source, data["x_train"])
    again, unrounded = rerun(model, evidence)
    assert again is not None
    assert unrounded is not None
    assert str(again.module) == str(model.module)
    rungs = {rung.name: rung for rung in ladder(model, evidence, unrounded)}
    assert list(rungs) == ["float", "quantized", "rounded", "simulated"]
    right = np.asarray(model.predict(x)).argmax(1) == y
    assert rungs["rounded"].accuracy == right.mean()
    text = page(model, evidence)
    assert f">{100 * right.mean():.1f}</td>" in text
    assert ">fit-weights</td>" in text
    with pytest.raises(lutra.Error, match="3 labels for 50 samples"):
        page(model, Evidence(x, y[:3]))


@pytest.mark.encrypted
def test_encrypted_samples_are_a_rung(model: lutra.Model) -> None:
    x = points()[:2]
    labels = np.asarray(model.predict(x)).argmax(1)
    (*_, last) = ladder(model, Evidence(x, labels, encrypted=1), None)
    assert (last.name, last.samples) == ("encrypted", 1)


def test_commands(model: lutra.Model, tmp_path: Path) -> None:
    model.save(tmp_path / "m.lutra")
    np.savez(tmp_path / "x.npz", x=points())
    run = CliRunner().invoke(
        app, ["report", str(tmp_path / "m.lutra"), "-d", f"{tmp_path}/x.npz:x"]
    )
    assert run.exit_code == 0, run.output
    assert "outside</span>" in (tmp_path / "m.html").read_text(encoding="utf-8")
    target = tmp_path / "c.onnx"
    run = CliRunner().invoke(app, ["export", str(tmp_path / "m.lutra"), str(target)])
    assert run.exit_code == 0, run.output
    assert target.exists()
    with pytest.raises(lutra.Error, match="no folder"):
        write(model, tmp_path / "no" / "m.html")
