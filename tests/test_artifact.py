"""Saved models: the same bytes each time, the same predictions, and no trust on loading."""

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import lutra
from lutra import archive, artifact
from onnx_models import model_of
from small_models import mlp, points, tensor


@pytest.fixture(scope="module")
def model() -> lutra.Model:
    return lutra.compile(mlp(hidden=20), points(), "default{rounding=4}", p_error=0.1)


@pytest.fixture(scope="module")
def saved(model: lutra.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "model.lutra"
    model.save(path)
    return path


def test_what_is_saved_is_loaded(model: lutra.Model, saved: Path) -> None:
    loaded = lutra.load(saved)
    np.testing.assert_array_equal(loaded.predict(points(50)), model.predict(points(50)))
    for name in ("pipeline", "backend", "options", "signature", "p_error", "pbs_count"):
        assert getattr(loaded, name) == getattr(model, name)
    assert str(loaded.module) == str(model.module)
    assert str(loaded.report(price=False)) == str(model.report(price=False))


def test_the_same_model_gives_the_same_bytes(
    model: lutra.Model, saved: Path, tmp_path: Path
) -> None:
    again = lutra.compile(mlp(hidden=20), points(), "default{rounding=4}", p_error=0.1)
    for number, each in enumerate((model, again, lutra.load(saved))):
        path = tmp_path / f"{number}.lutra"
        each.save(path)
        assert path.read_bytes() == saved.read_bytes()


def test_parts_are_readable_without_lutra(model: lutra.Model, saved: Path) -> None:
    with zipfile.ZipFile(saved) as parts:
        manifest = json.loads(parts.read("manifest.json"))
        assert manifest["pipeline"] == "default{rounding=4}"
        assert manifest["inputs"] == [{"name": "x", "shape": [1, 2], "dtype": "float32"}]
        encode, decode = (
            onnxruntime.InferenceSession(parts.read(name))
            for name in ("encode.onnx", "decode.onnx")
        )
        with parts.open("constants.npz") as stream:
            assert np.load(stream, allow_pickle=False).files
    x = points(9)
    (q,) = encode.run(None, {"x": x})
    (r,) = model.module.circuit.outputs
    from lutra.backends import numpy as clear

    (integers,) = clear.emit(model.module.circuit).run(q[:, None])
    (y,) = decode.run(None, {"r0": integers[:, 0]})
    assert integers.shape[1:] == r.shape
    np.testing.assert_array_equal(y, model.predict(x))


def test_odd_names_and_types_survive(tmp_path: Path) -> None:
    source = model_of(
        "m (float[2,2] x) => (float[2,2] y) <"
        + tensor("w", np.eye(2))
        + "> { [odd] y = MatMul(x, w) }"
    )
    node = source.graph.node[0]
    node.name = node.output[0] = source.graph.output[0].name = 'a "b"\nc/é'
    node.input[0] = source.graph.input[0].name = "the input"
    compiled = lutra.compile(source, points(20).reshape(10, 2, 2))
    compiled.save(tmp_path / "m.lutra")
    loaded = lutra.load(tmp_path / "m.lutra")
    assert loaded.signature == compiled.signature
    np.testing.assert_array_equal(loaded.predict(np.eye(2)), compiled.predict(np.eye(2)))


# --- writing ------------------------------------------------------------------------------------
def test_a_failed_save_leaves_everything_as_it_was(
    model: lutra.Model, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(handle: int) -> None:
        raise OSError("no space left on device")

    before = saved.read_bytes()
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(lutra.Error, match=r"model\.lutra cannot be written: no space"):
        model.save(saved)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_saving_where_there_is_no_folder(model: lutra.Model, tmp_path: Path) -> None:
    with pytest.raises(lutra.Error, match=r"m\.lutra cannot be written: there is") as caught:
        model.save(tmp_path / "none" / "m.lutra")
    assert caught.value.code == "I004"
    assert str(tmp_path / "none") in caught.value.help


def test_saving_to_a_folder(model: lutra.Model, tmp_path: Path) -> None:
    with pytest.raises(lutra.Error, match="it is a folder"):
        model.save(tmp_path)


# --- damaged, altered, newer ----------------------------------------------------------------------
def refuse(path: Path, content: bytes, code: str) -> lutra.Error:
    path.write_bytes(content)
    with pytest.raises(lutra.Error) as caught:
        lutra.load(path)
    assert caught.value.code == code, caught.value.render()
    assert str(path) in caught.value.message
    return caught.value


def parts_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as parts:
        return {name: parts.read(name) for name in parts.namelist()}


def resealed(parts: dict[str, bytes], /, **changes: object) -> bytes:
    """An archive of these parts with the digests right and some entries of the manifest changed."""
    manifest = json.loads(parts["manifest.json"])
    manifest["parts"] = {
        name: hashlib.sha256(content).hexdigest()
        for name, content in parts.items()
        if name != "manifest.json"
    }
    manifest |= changes
    manifest["digest"] = artifact._digest(manifest)
    return archive.pack({**parts, "manifest.json": json.dumps(manifest).encode()})


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(lutra.Error) as caught:
        lutra.load(tmp_path / "none.lutra")
    assert caught.value.code == "A001"


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_truncated(saved: Path, tmp_path: Path, share: float) -> None:
    content = saved.read_bytes()
    refuse(tmp_path / "m.lutra", content[: int(share * len(content))], "A001")


def test_not_a_zip(tmp_path: Path) -> None:
    refuse(tmp_path / "m.lutra", b"\x80\x04" * 500, "A001")


def loaded_or_code(path: Path) -> lutra.Model | str:
    try:
        return lutra.load(path)
    except lutra.Error as error:
        return error.code


def test_every_flipped_byte_is_found_or_harmless(saved: Path, tmp_path: Path) -> None:
    content, path = saved.read_bytes(), tmp_path / "m.lutra"
    expected = lutra.load(saved).predict(points(5))
    found = 0
    for at in range(0, len(content), 7):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :])
        result = loaded_or_code(path)
        if isinstance(result, str):
            assert result in ("A001", "A002")
            found += 1
        else:  # a time stamp, an attribute of a file
            np.testing.assert_array_equal(result.predict(points(5)), expected)
    assert found > len(content) // 7 * 0.8


@pytest.mark.parametrize("name", artifact.PARTS)
def test_altered_part(saved: Path, tmp_path: Path, name: str) -> None:
    parts = parts_of(saved)
    parts[name] = parts[name] + b" "
    error = refuse(tmp_path / "m.lutra", archive.pack(parts), "A002")
    assert name in error.message


def test_altered_manifest(saved: Path, tmp_path: Path) -> None:
    parts = parts_of(saved)
    parts["manifest.json"] = parts["manifest.json"].replace(b"rounding=4", b"rounding=5")
    refuse(tmp_path / "m.lutra", archive.pack(parts), "A002")


@pytest.mark.parametrize("name", ["manifest.json", *artifact.PARTS])
def test_missing_part(saved: Path, tmp_path: Path, name: str) -> None:
    parts = parts_of(saved)
    del parts[name]
    refuse(tmp_path / "m.lutra", archive.pack(parts), "A002")


def test_further_part(saved: Path, tmp_path: Path) -> None:
    refuse(tmp_path / "m.lutra", resealed({**parts_of(saved), "../x": b""}), "A002")


def test_newer_version(saved: Path, tmp_path: Path) -> None:
    content = resealed(parts_of(saved), format=artifact.FORMAT + 1, lutra="9.1")
    error = refuse(tmp_path / "m.lutra", content, "A003")
    assert "9.1" in error.message


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"format": true}',
        b'{"format": 0}',
        b'{"format": 1}',
        b"[" * 10**5,
    ],
    ids=lambda text: str(text[:15]),
)
def test_manifest_that_is_none(saved: Path, tmp_path: Path, manifest: bytes) -> None:
    content = archive.pack({**parts_of(saved), "manifest.json": manifest})
    refuse(tmp_path / "m.lutra", content, "A002")


@pytest.mark.parametrize(
    "changes",
    [
        {"inputs": []},
        {"outputs": [{"name": "y", "shape": [1, 3], "dtype": "float32"}]},
        {"pipeline": None},
        {"options": []},
        {"parts": {}},
    ],
    ids=str,
)
def test_manifest_that_does_not_fit(
    saved: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    refuse(tmp_path / "m.lutra", resealed(parts_of(saved), **changes), "A002")


def cut_graph(text: str) -> str:
    return text[: text.index("graph decode")]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: text + "}",
        cut_graph,
        lambda text: text.replace("matmul", "matmull"),
        lambda text: text.replace("@c0", "@c999"),
        lambda text: text.replace("graph encode", "graph begin"),
        lambda text: text.replace('names=["r0"]', 'names=["r9"]'),
    ],
    ids=range(7),
)
def test_module_that_does_not_fit(
    saved: Path, tmp_path: Path, change: Callable[[str], str]
) -> None:
    parts = parts_of(saved)
    text = parts["module.txt"].decode()
    assert change(text) != text
    refuse(tmp_path / "m.lutra", resealed({**parts, "module.txt": change(text).encode()}), "A002")


def bombs() -> Iterator[tuple[str, bytes]]:
    zeros = bytes(10**7)
    header = np.lib.format.magic(1, 0) + b"\x76\x00"
    yield "constants", archive.pack({"c0.npy": zeros})
    claim = (
        "{'descr': '<i8', 'fortran_order': False, 'shape': (1000000000000,), }".ljust(117) + "\n"
    )
    yield "shape", archive.pack({"c0.npy": header + claim.encode()})
    claim = "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117) + "\n"
    yield "object", archive.pack({"c0.npy": header + claim.encode() + b"\x80\x04N."})


@pytest.mark.parametrize(("name", "content"), list(bombs()), ids=[name for name, _ in bombs()])
def test_constants_that_are_no_arrays(
    saved: Path, tmp_path: Path, name: str, content: bytes
) -> None:
    refuse(tmp_path / "m.lutra", resealed({**parts_of(saved), "constants.npz": content}), "A002")


def test_zip_bomb(saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.lutra"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        for name, content in parts_of(saved).items():
            bomb.writestr(name, content if name != "module.txt" else bytes(10**7))
    error = refuse(path, path.read_bytes(), "A002")
    assert "claims to unpack" in error.message


def test_parts_of_one_name(saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.lutra"
    with zipfile.ZipFile(path, "w") as double:
        for name, content in parts_of(saved).items():
            double.writestr(name, content)
        with pytest.warns(UserWarning, match="Duplicate name"):
            double.writestr("module.txt", b"")
    refuse(path, path.read_bytes(), "A002")
