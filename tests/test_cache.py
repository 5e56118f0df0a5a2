"""Compiled models and test keys that are kept between processes."""

import json
import logging
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import lutra
from lutra import cache
from lutra.artifact import packed
from lutra.cli import app
from lutra.frontends.registry import import_source
from lutra.passes import Pipeline, Record
from lutra.passes.instruments import Instrument
from small_models import FEW_BITS, mlp, points


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "lutra"


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows with every pipeline that really runs."""
    found: list[str] = []
    execute = Pipeline.execute

    def seen(self: Pipeline, *args: Any) -> list[Record]:
        found.append(str(self))
        return execute(self, *args)

    monkeypatch.setattr(Pipeline, "execute", seen)
    return found


def top(runs: list[str]) -> int:
    return runs.count(str(Pipeline.of(FEW_BITS)))


def small(pipeline: str = FEW_BITS, **options: Any) -> lutra.Model:
    return lutra.compile(mlp(), points(), pipeline, cache=True, **options)


def test_a_model_is_compiled_once(runs: list[str], home: Path) -> None:
    first, again = small(), small()
    assert top(runs) == 1
    assert packed(again) == packed(first)
    np.testing.assert_array_equal(again.predict(points()), first.predict(points()))
    assert [entry.kind for entry in cache.entries()] == [cache.COMPILED]
    assert home.joinpath(cache.COMPILED).stat().st_mode & 0o777 == 0o700
    assert packed(lutra.compile(mlp(), points(), FEW_BITS)) == packed(first)
    assert top(runs) == 2


def test_all_that_matters_is_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    module, x = import_source(mlp()), {"x": points()}
    other = import_source(mlp())
    (constant, *_) = (op for op in other.main.ops if hasattr(op, "value"))
    constant.value = constant.value + 1e-6

    def key(m: Any = module, samples: Any = x, pipeline: str = FEW_BITS, *settings: Any) -> str:
        return cache.key_of(m, samples, Pipeline.of(pipeline), *settings)

    keys = [
        key(),
        key(other),
        key(samples={"x": points() + 1e-6}),
        key(samples={"x": points()[:-1]}),
        key(samples={"x": points().astype(np.float64)}),
        key(samples=None),
        key(pipeline="default"),
        key(module, x, FEW_BITS, "numpy"),
        key(module, x, FEW_BITS, {"p_error": 1e-3}),
    ]
    assert key(import_source(mlp())) == keys[0]
    monkeypatch.setattr(cache, "versions", lambda packages: "newer")
    keys.append(key())
    assert len(set(keys)) == len(keys)


def test_who_watches_sees_every_pass(runs: list[str]) -> None:
    for _ in range(2):
        assert small(instruments=[Instrument()]).records
    assert top(runs) == 2
    assert not list(cache.entries())


def test_sharing_results_is_checked_though_the_model_is_known() -> None:
    pipeline = "default{weights=4,rounding=4}"
    small(pipeline, p_error=2**-40)
    with pytest.raises(lutra.Error) as caught:
        small(pipeline, p_error=2**-40, share_results=True)
    assert caught.value.code == "I006"


def test_many_writers_make_one_entry() -> None:
    made = []

    def make() -> lutra.Model:
        made.append(lutra.compile(mlp(), points(), FEW_BITS))
        return made[-1]

    with ThreadPoolExecutor(6) as threads:
        futures = [threads.submit(cache.compiled, "key", make) for _ in range(6)]
        found = [packed(future.result(), deployable=False) for future in futures]
    assert len(made) == 1
    assert len(set(found)) == 1


def test_a_damaged_entry_is_made_again(runs: list[str], caplog: Any) -> None:
    small()
    (entry,) = cache.entries()
    entry.path.write_bytes(entry.path.read_bytes()[:-100])
    with caplog.at_level(logging.INFO, "lutra"):
        small()
        small()
    assert top(runs) == 2
    assert "damaged" in caplog.messages[0]
    assert caplog.messages[-1].startswith("compiled model taken from")


def test_a_cache_that_cannot_be_is_none(home: Path, caplog: Any) -> None:
    home.write_text("no folder")
    assert small().pbs_count
    assert "no cache in" in caplog.text
    assert not list(cache.entries())


class Keys:
    """A client whose keys are its name."""

    def __init__(self) -> None:
        self.parameters = b"parameters"
        self.keys = b""
        self.generated = 0

    def keygen(self) -> None:
        self.generated += 1
        self.keys = b"keys"

    def keys_to_bytes(self) -> bytes:
        return self.keys

    def take_keys(self, data: bytes) -> None:
        self.keys = data


def test_test_keys_are_generated_once(caplog: Any) -> None:
    first, second, third = Keys(), Keys(), Keys()
    for client in (first, second):
        cache.take_test_keys(client)
    assert (first.generated, second.generated, second.keys) == (1, 0, b"keys")
    assert caplog.text.count("insecure test keys") == 2
    (entry,) = cache.entries()
    assert entry.path.parent.name == "insecure-test-keys"
    entry.path.write_bytes(b"damaged")
    cache.take_test_keys(third)
    assert third.generated == 1


@pytest.mark.encrypted
def test_test_keys_encrypt(home: Path) -> None:
    x = points()[:1]
    models = [lutra.compile(mlp(), points(), FEW_BITS, p_error=1e-7) for _ in range(2)]
    for model in models:
        model.keygen(insecure_test_keys=True)
        np.testing.assert_array_equal(model.predict(x, "encrypt"), model.predict(x))
    first, second = (model.executable.client.keys_to_bytes() for model in models)  # type: ignore[attr-defined]
    assert first == second
    clear = lutra.compile(mlp(), points(), FEW_BITS, backend="numpy")
    with pytest.raises(lutra.Error, match="does not encrypt"):
        clear.keygen(insecure_test_keys=True)


def test_commands(tmp_path: Path) -> None:
    run = CliRunner().invoke
    assert "0 entries" in run(app, ["cache", "list"]).output
    source = Path(__file__).parents[1] / "examples" / "models" / "logreg14.onnx"
    shutil.copy(source, tmp_path / "m.onnx")
    data = f"{source.with_suffix('.npz')}:x_train"
    command = ["compile", str(tmp_path / "m.onnx"), "-c", data, "--cache"]
    outputs = [run(app, [*command, "-o", str(tmp_path / name)]).output for name in ("a", "b")]
    assert len({text.replace("/b\n", "/a\n") for text in outputs}) == 1
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert "compiled" in run(app, ["cache", "list"]).output
    (entry,) = json.loads(run(app, ["cache", "list", "--json"]).output)["entries"]
    assert entry["bytes"] == Path(entry["path"]).stat().st_size
    assert "there are" in run(app, ["cache", "clear", "--only", "models"]).output
    assert "deleted 0" in run(app, ["cache", "clear", "--only", "insecure-test-keys"]).output
    assert "deleted 1" in run(app, ["cache", "clear"]).output
    assert not list(cache.entries())
