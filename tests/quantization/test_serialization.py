"""Quantized arrays and modules as JSON."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lutra.ir.errors import ArtifactError, InputError
from lutra.onnx import compile_onnx_model
from lutra.quantization import (
    NotCompiledError,
    QuantizedArray,
    QuantizedLinear,
    QuantizedModule,
    UniformQuantizer,
)
from lutra.quantization.serialization import dump, dumps, load, loads
from small_models import mlp, points


@pytest.fixture(scope="module")
def module() -> QuantizedModule:
    return compile_onnx_model(mlp(), points(), n_bits=3, p_error=0.01)


@pytest.mark.parametrize("values", [np.linspace(-1.3, 2, 12).reshape(3, 4), np.array(0.7)])
@pytest.mark.parametrize("signed", [False, True])
def test_arrays(values: Any, signed: bool) -> None:
    q = QuantizedArray(5, values, is_signed=signed)
    for found in (loads(dumps(q)), QuantizedArray.load_dict(json.loads(json.dumps(q.dump_dict())))):
        assert found.quantizer == q.quantizer
        np.testing.assert_array_equal(found.qvalues, q.qvalues)
        np.testing.assert_array_equal(found.values, q.values)


def test_quantizers() -> None:
    quantizer = UniformQuantizer(3, 2, 1)  # type: ignore[arg-type]  # an int will do
    assert loads(quantizer.dumps()) == quantizer


def test_modules(module: QuantizedModule, tmp_path: Path) -> None:
    path = tmp_path / "module.json"
    with path.open("w") as file:
        dump(module, file)
    with path.open() as file:
        found = load(file)
    assert isinstance(found, QuantizedModule)
    assert found.dumps() == module.dumps() == path.read_text()
    x = points(50, seed=2)
    np.testing.assert_array_equal(found(x), module(x))
    assert found.onnx_model == module.onnx_model
    with pytest.raises(NotCompiledError):
        found.forward(x, fhe="simulate")
    found.compile(x)
    assert found.forward(x, fhe="simulate").shape == module(x).shape


def test_modules_by_hand() -> None:
    fc = QuantizedLinear(3, QuantizedArray(3, np.array([[1.0], [-0.4]]), is_signed=True))
    fc.calibrate(points())
    module = QuantizedModule(["x"], ["y"], {"y": (("x",), fc)})
    with pytest.raises(InputError, match="set_inputs_quantization_parameters"):
        module.dumps()
    module.set_inputs_quantization_parameters(QuantizedArray(4, points()).quantizer)
    stream = io.StringIO()
    module.dump(stream)
    np.testing.assert_array_equal(loads(stream.getvalue())(points()), module(points()))


def test_nothing_is_pickled(module: QuantizedModule) -> None:
    text = module.dumps()
    assert set(json.loads(text)["serialized_value"]) == {"model", "onnx_model"}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda e: e.pop("type_name"), "A002"),
        (lambda e: e.update(type_name="os.system"), "A002"),
        (lambda e: e.update(format=99), "A003"),
        (lambda e: e["serialized_value"].pop("model"), "A002"),
        (lambda e: e["serialized_value"].update(model="?"), "A002"),
        (lambda e: e["serialized_value"].update(model="AAAA"), "A001"),
        (lambda e: e["serialized_value"].update(onnx_model="AAAA"), "A002"),
    ],
)
def test_damaged_modules(module: QuantizedModule, change: Any, code: str) -> None:
    entry = json.loads(module.dumps())
    change(entry)
    with pytest.raises(ArtifactError, match=code):
        loads(json.dumps(entry))


@pytest.mark.parametrize(
    "change",
    [
        {"qvalues": [0.5]},
        {"qvalues": [[1], [1, 2]]},
        {"values": ["a"]},
        {"quantizer": None},
        {"quantizer": {"n_bits": "7"}},
    ],
)
def test_damaged_arrays(change: dict[str, Any]) -> None:
    entry = QuantizedArray(3, [0.0, 1.0]).dump_dict()
    with pytest.raises(ArtifactError, match="A002"):
        QuantizedArray.load_dict({**entry, **change})


def test_what_is_no_json() -> None:
    with pytest.raises(ArtifactError, match="A001"):
        loads("no JSON")
    with pytest.raises(ArtifactError, match="A002"):
        loads("[]")
