"""Models of other kinds, read by plugins."""

from pathlib import Path

import numpy as np
import onnx
import pytest

import lutra
from fake_packages import Install
from lutra.frontends.registry import import_source
from lutra.ir.errors import ModelError, PipelineError
from small_models import mlp, points

FRONTEND = """
import onnx
from lutra.frontends.onnx import import_model

def read(source, shapes=None):
    '''Models whose name is backwards, as texts that start so.'''
    if isinstance(source, str) and source.endswith(".xnno"):
        return import_model(onnx.load(source, "protobuf"), shapes=shapes)

def none(source):
    return None

def wrong(source):
    return 3
"""
POINTS = {"lutra.frontends": "backwards = acme:read\na-none = acme:none"}


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "model.xnno"
    path.write_bytes(mlp().SerializeToString())
    return str(path)


def test_a_plugin_reads_what_onnx_does_not_know(install: Install, file: str) -> None:
    install("acme", POINTS, FRONTEND)
    assert str(import_source(file)) == str(import_source(mlp()))
    text = str(import_source(file, shapes={"x": (1, 2)}))
    assert text.startswith("%x = input : float32[1x2]")
    predicted = [lutra.compile(m, points()).predict(points(5)) for m in (file, mlp())]
    np.testing.assert_array_equal(*predicted)


def test_onnx_needs_no_plugin(install: Install, tmp_path: Path) -> None:
    install("acme", {"lutra.frontends": "wrong = acme:wrong"}, FRONTEND)
    onnx.save(mlp(), tmp_path / "model.onnx")
    sources = [mlp(), mlp().SerializeToString(), tmp_path / "model.onnx"]
    for source in sources:
        assert import_source(source).main.inputs
    with pytest.raises(PipelineError, match=r"P007.*'wrong' of acme gives no module.*int"):
        import_source(tmp_path / "model.xnno")


def test_what_nobody_takes(install: Install, file: str) -> None:
    with pytest.raises(ModelError, match=r"F001.*a model is a path.*not dict"):
        import_source({})
    install("acme", {"lutra.frontends": "backwards = acme:read"}, "import nowhere")
    assert import_source(file).main.inputs  # as ONNX, in the end
    with pytest.raises(ModelError, match=r"F001(?s:.*)P007: frontend 'backwards' of acme"):
        import_source({})
