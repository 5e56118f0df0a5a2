"""`load`: what is read, and what is said of that which cannot be."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest

from lutra.frontends.onnx import load
from lutra.ir.errors import ModelError
from onnx_models import model_of, random_feeds, run

TEXT = """
g (float[1, 4] x) => (float[1, 4] y) <float[4, 4] w> { y = MatMul(x, w) }
"""


@pytest.fixture
def model() -> onnx.ModelProto:
    made = model_of(TEXT)
    weights = np.arange(16, dtype=np.float32).reshape(4, 4)
    made.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    return made


def refused(source: object, code: str) -> ModelError:
    with pytest.raises(ModelError) as caught:
        load(source)  # type: ignore[arg-type]
    assert caught.value.code == code
    return caught.value


@pytest.mark.parametrize("suffix", [".onnx", ".pb", ".json", ".textproto", ""])
def test_files_of_every_form(model: onnx.ModelProto, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    form = {".json": "json", ".textproto": "textproto"}.get(suffix, "protobuf")
    onnx.save(model, path, format=form)
    assert load(path) == load(str(path)) == model


def test_onnx_text(tmp_path: Path) -> None:
    path = tmp_path / "model.onnxtxt"
    path.write_text(
        '<ir_version: 8, opset_import: ["": 17]> g (float[1] x) => (float[1] y) { y = Abs(x) }'
    )
    assert load(path).graph.node[0].op_type == "Abs"


def test_bytes_and_protobuf(model: onnx.ModelProto) -> None:
    assert load(model.SerializeToString()) == model
    assert load(model) == model


@pytest.mark.parametrize("source", [None, 7, ["model.onnx"], object()])
def test_other_things_are_no_models(source: object) -> None:
    assert type(source).__name__ in refused(source, "F001").message


def test_missing_file_and_folder(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "none.onnx", "F001").message
    assert "directory" in refused(tmp_path, "F001").message


def test_truncated_file(model: onnx.ModelProto, tmp_path: Path) -> None:
    content = model.SerializeToString()
    for size in range(len(content)):
        path = tmp_path / "cut.onnx"
        path.write_bytes(content[:size])
        refused(path, "F001")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x04\x95", b"\x00" * 64])
def test_other_content(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    refused(path, "F001")
    refused(content, "F001")


def test_a_zip_archive_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl", "")
    error = refused(path, "F001")
    assert "zip" in error.message
    assert "torch.onnx.export" in error.help


# --- external data ------------------------------------------------------------------------------
@pytest.fixture
def external(model: onnx.ModelProto, tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    twin = onnx.ModelProto()
    twin.CopyFrom(model)  # `save` changes what it is given
    onnx.save(twin, path, save_as_external_data=True, location="model.data", size_threshold=0)
    return path


def test_external_data_are_read(model: onnx.ModelProto, external: Path) -> None:
    feeds = random_feeds(model)
    np.testing.assert_array_equal(run(load(external), feeds)[0], run(model, feeds)[0])


def test_missing_external_data(external: Path) -> None:
    (external.parent / "model.data").unlink()
    error = refused(external, "F005")
    assert "model.data" in error.message
    assert str(external.parent) in error.help


def test_short_external_data(external: Path) -> None:
    data = external.parent / "model.data"
    data.write_bytes(data.read_bytes()[:40])
    assert "'w'" in refused(external, "F005").message


@pytest.mark.parametrize("location", ["../secret.data", "/etc/hostname", "sub/../../secret.data"])
def test_external_data_outside_the_folder(external: Path, location: str) -> None:
    (external.parent.parent / "secret.data").write_bytes(bytes(64))
    model = onnx.load(external, load_external_data=False)
    model.graph.initializer[0].external_data[0].value = location
    external.write_bytes(model.SerializeToString())
    refused(external, "F005")


def test_external_data_through_a_link(external: Path) -> None:
    secret = external.parent.parent / "secret.data"
    data = external.parent / "model.data"
    data.rename(secret)
    data.symlink_to(secret)
    refused(external, "F005")


def test_external_data_without_a_folder(external: Path) -> None:
    assert "path" in refused(external.read_bytes(), "F005").help
    model = onnx.load(external, load_external_data=False)
    refused(model, "F005")
    assert model.graph.initializer[0].external_data  # the caller's own model stays as it was
