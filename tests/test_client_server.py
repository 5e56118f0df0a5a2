"""`lutra.Client` and `lutra.Server`: apart, the same integers as in one process."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lutra
from lutra.artifact import Artifact
from lutra.client import Client
from lutra.ir.errors import ArtifactError, InputError, KeysError, ServingError
from lutra.ir.types import Array
from lutra.message import Header, Message, pack_keys, pack_samples
from lutra.server import Server
from onnx_models import model_of
from served import P_ERROR, client_of, saved
from small_models import FEW_BITS, mlp, points, tensor

SERVER = """
import sys
from pathlib import Path
import lutra
folder = Path(sys.argv[1])
results = lutra.Server(folder / "mlp3.lutra").run(folder / "inputs", folder / "keys")
(folder / "results").write_bytes(results)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("apart")


@pytest.fixture(scope="module")
def path(folder: Path) -> Path:
    return saved(folder)


@pytest.fixture(scope="module")
def server(path: Path) -> Server:
    return Server(path)


@pytest.fixture(scope="module")
def client(server: Server) -> Client:
    client = Client(server.client_part)
    client.keygen()
    return client


@pytest.fixture(scope="module")
def x() -> Array:
    return points()[:3]


@pytest.mark.encrypted
def test_two_processes_give_the_integers_of_one(
    folder: Path, path: Path, server: Server, client: Client, x: Array
) -> None:
    model = lutra.load(path)
    inputs = client.encrypt(x)
    (folder / "inputs").write_bytes(inputs)
    (folder / "keys").write_bytes(client.evaluation_keys)
    subprocess.run([sys.executable, "-c", SERVER, str(folder)], check=True, cwd="/")
    apart = client.decrypt_integers((folder / "results").read_bytes())
    seen: list[tuple[int, int]] = []
    accepted = server.accept(folder / "keys")
    together = server.run(inputs, accepted, progress=lambda *event: seen.append(event))
    clear = model.evaluate(model.encode(x))
    for each in (apart, client.decrypt_integers(together)):
        np.testing.assert_array_equal(each, clear)
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]
    np.testing.assert_array_equal(client.decrypt(together), model.predict(x))
    np.testing.assert_array_equal(client.decrypt(together, x), model.predict(x))


@pytest.mark.encrypted
def test_keys_are_saved_and_loaded(
    folder: Path, path: Path, server: Server, client: Client, x: Array
) -> None:
    pytest.importorskip("cryptography")
    results = server.run(client.encrypt(x[:1]), client.evaluation_keys)
    for passphrase in (None, "secret"):
        file = folder / f"{passphrase}.keys"
        client.save_keys(file, passphrase)
        again = Client(path)  # the whole model will do
        again.load_keys(file, passphrase)
        assert again.keys == client.keys
        np.testing.assert_array_equal(again.decrypt(results), client.decrypt(results))
    with pytest.raises(KeysError, match="K002"):
        client.load_keys(folder / "secret.keys", "guess")
    with pytest.raises(KeysError, match="K003"):
        Client(saved(folder, hidden=7)).load_keys(folder / "None.keys")
    assert client.decrypt(results).shape == (1, 2)  # type: ignore[union-attr]


@pytest.mark.encrypted
def test_messages_for_others_are_refused(
    folder: Path, path: Path, server: Server, client: Client, x: Array
) -> None:
    inputs, keys = client.encrypt(x[:1]), client.evaluation_keys
    stranger = client_of(path)
    other = client_of(saved(folder, hidden=2))
    for theirs, code in [
        ((inputs, stranger.evaluation_keys), "S002"),
        ((other.encrypt(x[:1]), keys), "S002"),
        ((inputs, other.evaluation_keys), "S002"),
        ((keys, keys), "S001"),
        ((inputs, inputs), "S001"),
        ((b"", keys), "S001"),
        ((inputs[: len(inputs) // 2], keys), "S001"),
        ((inputs, keys[: len(keys) // 2]), "S001"),
    ]:
        with pytest.raises(ServingError, match=code):
            server.run(*theirs)
    results = server.run(inputs, keys)
    for holder in (stranger, other):
        with pytest.raises(ServingError, match="S002"):
            holder.decrypt(results)
    with pytest.raises(ServingError, match="S001"):
        client.decrypt(inputs)


@pytest.mark.encrypted
def test_ciphertexts_that_are_none_are_refused(server: Server, client: Client) -> None:
    header = Header("inputs", server.model, client.keys, 1)
    keys = server.accept(client.evaluation_keys)
    for part in (b"", b"\x80\x04N.", bytes(300)):
        with pytest.raises(ServingError, match="S001"):
            server.run(pack_samples(header, [[part]]), keys)
        with pytest.raises(ServingError, match="S001"):
            server.accept(pack_keys(Header("keys", server.model, "x"), part))
        results = Header("results", server.model, client.keys, 1)
        with pytest.raises(ServingError, match="S001"):
            client.decrypt(pack_samples(results, [[part]]))


def test_the_clients_part_holds_no_weights(path: Path, server: Server) -> None:
    part = Artifact.read(server.client_part)
    text = part.parts["module.txt"].decode()
    assert "quantize" in text
    assert "matmul" not in text
    assert "lookup" not in text
    assert not [name for name in part.parts if "mlir" in name]
    assert part.digest == Artifact.read(path).digest
    assert part.client_part() == server.client_part
    with pytest.raises(ArtifactError, match="client's part"):
        part.model()
    with pytest.raises((InputError, ArtifactError)):
        Server(server.client_part)


def test_samples_that_do_not_fit(server: Server) -> None:
    client = Client(server.client_part)
    for wrong, code in [(points(2)[:, :1], "I001"), ({"z": points(1)}, "I004")]:
        with pytest.raises(InputError, match=code):
            client.encode(wrong)


@pytest.mark.encrypted
def test_models_that_read_inputs_again_and_no_samples(tmp_path: Path) -> None:
    w = tensor("w", np.array([[1.0, -0.5], [0.25, 2.0]]))
    source = model_of(
        f"m (float[N,2] x) => (float[N,2] y, float[N,2] z) <{w}>{{ y = MatMul(x, w)  z = Neg(x) }}"
    )
    model = lutra.compile(source, points(), p_error=P_ERROR)
    model.save(tmp_path / "m.lutra")
    client, server = client_of(tmp_path / "m.lutra"), Server(tmp_path / "m.lutra")
    keys = server.accept(client.evaluation_keys)
    for x in (points(2), points(2)[:0]):
        results = server.run(client.encrypt(x), keys)
        for found, wanted in zip(client.decrypt(results, x), model.predict(x), strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_backends_that_do_not_encrypt(tmp_path: Path) -> None:
    lutra.compile(mlp(), points(), FEW_BITS, backend="numpy").save(tmp_path / "m.lutra")
    for side in (Client, Server):
        with pytest.raises(InputError, match="does not encrypt"):
            side(tmp_path / "m.lutra")


def test_a_part_of_another_version_of_the_backend(path: Path) -> None:
    from lutra.backends.concrete import client, server

    parts = Artifact.read(path).deployed()
    older = {**parts, "circuit.json": parts["circuit.json"].replace(b"2.11", b"2.10")}
    for side in (client, server):
        with pytest.raises(ArtifactError, match=r"A004.*2\.10"):
            side(older)
    text = parts["client.json"].replace(b'"lweDimension":7', b'"lweDimension":8')
    with pytest.raises(ArtifactError, match="A004"):
        server({**parts, "client.json": text})
    for name in parts:
        if name != "server.mlir":
            with pytest.raises(ArtifactError, match="A002"):
                client({**parts, name: b"{"})


def test_headers_say_what_a_message_is(client: Client, x: Array) -> None:
    header = Message(client.encrypt(x)).header
    assert (header.kind, header.samples) == ("inputs", 3)
    assert header.model == client.model
