"""Inputs that stay clear: what they spare, what is the same, and who sees them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

import lutra
from lutra.artifact import Artifact, packed
from lutra.backends import concrete
from lutra.cli import app
from lutra.client import Client
from lutra.ir.core import Module, Value
from lutra.ir.errors import ArtifactError, InputError
from lutra.ir.program import Program
from lutra.ir.types import Array
from lutra.model import Model
from lutra.server import Server
from lutra.testing.nets import Net
from onnx_models import model_of
from small_models import tensor

FINE = "wide{weights=10,activations=10,inputs=10,rounding=10,prune=none,split=none}"
FEW = "default{weights=3,activations=3,inputs=3,rounding=none,margin=none}"
"""Exact look-ups of few bits."""

Join = Callable[[Net, Value, Value], Value]
"""What becomes of a hidden value [1, 6] and a clear input [1, 6]."""


def weights_of_run_time(net: Net, h: Value, m: Value) -> Value:
    columns = net.add("Reshape", net.dense(m, 18), np.array([6, 3]))
    return net.add("MatMul", h, columns)


def weights_from_the_left(net: Net, h: Value, m: Value) -> Value:
    rows = net.add("Reshape", net.dense(m, 18), np.array([3, 6]))
    product = net.add("MatMul", rows, net.add("Reshape", h, np.array([6, 1])))
    return net.add("Reshape", product, np.array([1, 3]))


def kernels_of_run_time(net: Net, h: Value, m: Value) -> Value:
    image, kernels = net.add("Reshape", h, np.array([1, 1, 6])), np.array([2, 1, 3])
    found = net.add("Conv", image, net.add("Reshape", m, kernels), strides=[2], pads=[1, 0])
    return net.add("Flatten", found)


LEVELLED: dict[str, Join] = {
    "mask": lambda net, h, m: net.add("Mul", h, m),
    "gate": lambda net, h, m: net.add("Mul", net.add("Sigmoid", net.dense(m, 6)), h),
    "quotient": lambda net, h, m: net.add("Div", h, net.add("Exp", m)),
    "choice": lambda net, h, m: net.add("Where", net.add("Greater", m, np.float32(0)), h, m),
    "or else": lambda net, h, m: net.add(
        "Where", net.add("Greater", m, np.float32(0)), h, np.float32(-0.5)
    ),
    "kernels": kernels_of_run_time,
    "weights": weights_of_run_time,
    "weights from the left": weights_from_the_left,
}
"""Products with clear values."""
ALIKE: dict[str, Join] = {
    "sum": lambda net, h, m: net.add("Add", h, m),
    "difference": lambda net, h, m: net.add("Sub", m, h),
    "maximum": lambda net, h, m: net.add("Max", h, m),
    "minimum": lambda net, h, m: net.add("Min", h, net.add("Tanh", m)),
    "side by side": lambda net, h, m: net.add("Concat", m, h, axis=1),
    "comparison": lambda net, h, m: net.add("Cast", net.add("Greater", h, m), to=1),
}
"""What takes as many look-ups whether an operand is clear or not."""


def net_of(join: Join) -> tuple[Net, Module]:
    """Two layers with a join between them."""
    net = Net(x=(1, 8), m=(1, 6))
    x, m = net.x
    return net, net.returns(net.dense(net.add("Relu", join(net, net.dense(x, 6), m)), 2))


def both(join: Join, pipeline: str) -> tuple[Net, Array, Model, Model]:
    """A net's own outputs on its samples, and its models without and with a clear input."""
    net, module = net_of(join)
    (floats,) = Program(module.clone()).run(net.samples(50))
    models = [lutra.compile(module, net.samples(50), pipeline, clear=c) for c in ((), "m")]
    return net, floats, *models


@pytest.mark.parametrize("join", LEVELLED.values(), ids=LEVELLED)
def test_products_take_no_look_up(join: Join) -> None:
    net, floats, encrypted, clear = both(join, FINE)
    assert clear.pbs_count == clear.report(price=False).layers[-1].type.size
    assert clear.pbs_count <= encrypted.pbs_count
    found = clear.predict(net.samples(50))
    assert np.abs(found - floats).max() < 0.03 * np.ptp(floats)


@pytest.mark.parametrize("join", ALIKE.values(), ids=ALIKE)
def test_all_else_gives_the_integers_of_encrypted_inputs(join: Join) -> None:
    net, _, encrypted, clear = both(join, FEW)
    assert clear.pbs_count == encrypted.pbs_count
    assert [node.clear for node in clear.module.circuit.inputs] == [False, True]
    x = net.samples(50)
    for mine, theirs in zip(
        clear.evaluate(clear.encode(x)), encrypted.evaluate(encrypted.encode(x)), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)


# --- under encryption, and apart ----------------------------------------------------------------
def attention() -> onnx.ModelProto:
    """Scores of an encrypted query against clear keys, masked: levelled but for nothing."""
    w = np.random.default_rng(0).normal(size=(3, 4)).round(2)
    return model_of(
        "scores (float[N,1,3] x, float[N,4,5] keys, float[N,1,5] mask) => (float[N,1,5] y)"
        f"<{tensor('w', w)}>"
        "{ q = MatMul(x, w)  s = MatMul(q, keys)  m = Mul(s, mask)  y = Softmax(m) }"
    )


def data(count: int = 40) -> dict[str, Array]:
    rng = np.random.default_rng(1)
    shapes = {"x": (1, 3), "keys": (4, 5), "mask": (1, 5)}
    found = {name: rng.normal(size=(count, *shape)) for name, shape in shapes.items()}
    found["mask"] = found["mask"] > 0
    return {name: array.astype(np.float32) for name, array in found.items()}


@pytest.fixture(scope="module")
def model() -> Model:
    return lutra.compile(attention(), data(), clear=["keys", "mask"])


@pytest.mark.encrypted
def test_client_and_server(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "scores.lutra")
    server = Server(tmp_path / "scores.lutra")
    client = Client(server.client_part)
    assert str(client.signature) == str(lutra.load(tmp_path / "scores.lutra").signature)
    assert [port.clear for port in client.signature.inputs] == [False, True, True]
    few = {name: array[:2] for name, array in data().items()}
    results = server.run(client.encrypt(few), client.evaluation_keys)
    np.testing.assert_array_equal(client.decrypt(results, few), model.predict(few))
    np.testing.assert_array_equal(model.predict(few, "encrypt"), model.predict(few))


def test_what_is_saved_reads_back(model: Model) -> None:
    content = packed(model, deployable=False)
    again = Artifact.read(content).model()
    assert packed(again, deployable=False) == content
    assert str(again.module) == str(model.module)
    assert [entry.get("clear") for entry in Artifact.read(content).manifest["inputs"]] == [
        *(None, True, True)
    ]
    np.testing.assert_array_equal(again.predict(data()), model.predict(data()))


def test_a_client_sends_nothing_clear_unawares(model: Model) -> None:
    """Parts that disagree about what is encrypted are damaged."""
    parts = dict(model.executable.specification)  # type: ignore[attr-defined]
    circuit = json.loads(parts["circuit.json"])
    circuit["inputs"][1]["clear"] = False
    with pytest.raises(ArtifactError, match="encrypts other inputs") as error:
        concrete.client({**parts, "circuit.json": json.dumps(circuit).encode()})
    assert error.value.code == "A002"


def test_reports_name_them(model: Model) -> None:
    report = model.report(price=False)
    assert "clear     keys, mask: not encrypted" in str(report)
    assert report.data()["clear"] == ["keys", "mask"]
    assert "mask: clear float32[1x1x5]" in repr(model)


# --- the choice ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("clear", "message", "help"),
    [
        (["mask", "kees"], "no input 'kees' to leave clear", "did you mean 'keys'"),
        (["x", "keys", "mask"], "all inputs of the model would be clear", "leave out the others"),
    ],
)
def test_bad_choices(clear: list[str], message: str, help: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        lutra.compile(attention(), data(), clear=clear)
    assert error.value.code == "I004"
    assert help in str(error.value)


def test_command_line(tmp_path: Path) -> None:
    onnx.save(attention(), str(tmp_path / "scores.onnx"))
    np.savez(tmp_path / "data.npz", **data())
    output = tmp_path / "scores.lutra"
    chosen = ["--clear", "keys", "--clear=mask"]
    paths = (str(tmp_path / name) for name in ("scores.onnx", "data.npz"))
    arguments = [next(paths), "-c", next(paths), "-o", str(output)]
    run = CliRunner().invoke(app, ["compile", *arguments, *chosen, "--json"])
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["clear"] == ["keys", "mask"]
    assert [port.clear for port in lutra.load(output).signature.inputs] == [False, True, True]


def test_other_commands_take_the_choice(tmp_path: Path) -> None:
    onnx.save(attention(), str(tmp_path / "scores.onnx"))
    run = CliRunner().invoke(app, ["opt", str(tmp_path / "scores.onnx"), "--clear", "mask"])
    assert "%mask = input : clear float32[1x1x5]" in run.stdout
    (tmp_path / "ir.txt").write_text(run.stdout)
    again = CliRunner().invoke(app, ["opt", str(tmp_path / "ir.txt")])
    assert again.stdout == run.stdout
