"""`lutra serve`, really asked over HTTP."""

import io
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import lutra
from lutra.client import Client
from lutra.ir.errors import InputError, ServingError
from lutra.ir.types import Array
from lutra.message import Header, pack_keys, pack_samples
from lutra.server import Server
from lutra.serving.remote import Remote
from lutra.testing.serving import Running, wait_until
from served import client_of, saved
from small_models import points

pytestmark = pytest.mark.encrypted


@pytest.fixture(scope="module")
def x() -> Array:
    return points()[:2]


@pytest.fixture(scope="module")
def remote(server: Running, client: Client) -> Iterator[Remote]:
    with Remote(server.url) as remote:
        remote.register(client)
        yield remote


def incoming(server: Running) -> list[Path]:
    """What arrives or is being deleted."""
    found = (server.data / "incoming").iterdir()
    return [path for path in found if not path.name.startswith("evaluator-")]


def test_predictions_are_those_in_one_process(
    server: Running, path: Path, client: Client, remote: Remote, x: Array
) -> None:
    assert Client(remote.client_part()).model == client.model
    inputs = client.encrypt(x)
    states: list[str] = []
    results = remote.run(inputs, lambda state: states.append(state["state"]))
    assert states[-1] == "done"
    together = Server(path).run(inputs, client.evaluation_keys)
    apart, here = client.decrypt_integers(results), client.decrypt_integers(together)
    np.testing.assert_array_equal(apart, here)
    model = lutra.load(path)
    np.testing.assert_array_equal(client.decrypt_integers(results), model.evaluate(model.encode(x)))
    np.testing.assert_array_equal(remote.predict(client, x), model.predict(x))
    assert not incoming(server)


def test_what_it_says_of_itself(server: Running, client: Client, remote: Remote) -> None:
    model = server.ask("GET", "/v1/model").json()
    assert model["model"] == client.model
    assert model["inputs"] == [{"name": "x", "shape": [1, 2], "dtype": "float32"}]
    assert server.figure("clients") >= 1
    assert server.figure("evaluators") == 1
    described = server.ask("GET", "/openapi.json").json()["paths"]
    assert set(described["/v1/requests/{id}/results"]["get"]["responses"]) >= {"200", "409", "422"}
    assert server.ask("GET", "/docs").status_code == 200
    keys = server.ask("GET", "/v1/keys", remote.token).json()
    assert keys["keys"] == client.keys


def test_a_request_is_listed_and_deleted(
    server: Running, client: Client, remote: Remote, x: Array
) -> None:
    id = remote.submit(client.encrypt(x))
    remote.results(id)
    listed = server.ask("GET", "/v1/requests", remote.token).json()
    assert [(r["id"], r["state"], r["done"]) for r in listed] == [(id, "done", 2)]
    assert server.ask("DELETE", f"/v1/requests/{id}", remote.token).status_code == 204
    assert server.ask("GET", f"/v1/requests/{id}", remote.token).status_code == 404
    assert not list((server.data / "requests").iterdir())


def test_clients_do_not_see_each_other(
    server: Running, path: Path, client: Client, remote: Remote, x: Array
) -> None:
    id = remote.submit(client.encrypt(x[:1]))
    with Remote(server.url) as other:
        other.register(client_of(path))
        for method, where in [("GET", ""), ("GET", "/results"), ("DELETE", "")]:
            answer = server.ask(method, f"/v1/requests/{id}{where}", other.token)
            assert answer.status_code == 404
        assert server.ask("GET", "/v1/requests", other.token).json() == []
        with pytest.raises(ServingError, match="S002"):
            other.submit(client.encrypt(x[:1]))
        other.forget()
        with pytest.raises(ServingError, match="S004"):
            other.submit(client.encrypt(x[:1]))
    remote.results(id)
    assert server.ask("DELETE", f"/v1/requests/{id}", remote.token).status_code == 204


@pytest.mark.parametrize(
    "token",
    [None, "x", "..", "../../etc.x", "a.b", "\x80.\xff", "." * 1000],
    ids=range(7),
)
def test_tokens_that_are_none(server: Running, remote: Remote, token: str | None) -> None:
    headers = {} if token is None else {"Authorization": f"Bearer {token}".encode("latin-1")}
    for method, where in [("POST", "requests"), ("GET", "requests"), ("DELETE", "keys")]:
        answer = server.http.request(method, f"/v1/{where}", headers=headers)  # type: ignore[arg-type]
        assert answer.status_code == 401
        assert answer.json()["code"] == "S004"
    assert remote.token is not None
    half = remote.token.split(".")[0] + ".x"
    assert server.ask("GET", "/v1/keys", half).status_code == 401


@pytest.mark.parametrize("id", ["x", "..", "%2e%2e", "..%2f..%2fclients", "\x00", "a" * 5000])
def test_ids_that_are_none(server: Running, remote: Remote, id: str) -> None:
    for where in ("", "/results"):
        path = f"/v1/requests/{id}{where}".replace("\x00", "%00")
        assert server.ask("GET", path, remote.token).status_code in (404, 405)


def test_bodies_that_are_none(
    server: Running, path: Path, client: Client, remote: Remote, x: Array
) -> None:
    inputs, keys = client.encrypt(x[:1]), client.evaluation_keys
    stranger = Header("keys", "0" * 64, "0" * 64)
    for kind, body, status in [
        ("requests", b"", 400),
        ("requests", b"\x80\x04N.", 400),
        ("requests", inputs[:-30], 400),
        ("requests", keys[:1000], 400),
        ("requests", pack_keys(stranger, b"short"), 400),
        ("requests", pack_samples(Header("inputs", "0" * 64, client.keys, 0), []), 409),
        ("requests", pack_samples(Header("inputs", client.model, "0" * 64, 0), []), 409),
        ("requests", bytes(600_000), 413),
        ("keys", inputs, 400),
        ("keys", pack_keys(stranger, b""), 409),
        ("keys", bytes(21 << 20), 413),
    ]:
        answer = server.ask("POST", f"/v1/{kind}", remote.token, content=body)
        assert answer.status_code == status, (kind, body[:9], answer.text)
        assert set(answer.json()) == {"code", "message", "help"}

    def unannounced() -> Iterator[bytes]:
        for _ in range(9):
            yield bytes(100_000)

    answer = server.ask("POST", "/v1/requests", remote.token, content=unannounced())
    assert answer.status_code == 413
    assert not incoming(server)


def test_cut_and_stalled_uploads_leave_nothing(server: Running, remote: Remote) -> None:
    head = f"Host: x\r\nAuthorization: Bearer {remote.token}\r\nContent-Length: 100000\r\n\r\n"
    before = server.figure("cut_uploads_total")
    for where in ("keys", "requests"):
        with server.connect() as cut:
            cut.sendall(f"POST /v1/{where} HTTP/1.1\r\n{head}".encode() + bytes(5000))
            wait_until(lambda: incoming(server))
    wait_until(lambda: not incoming(server))
    wait_until(lambda: server.figure("cut_uploads_total") == before + 2)
    with server.connect() as stalled:
        stalled.sendall(f"POST /v1/requests HTTP/1.1\r\n{head}".encode() + bytes(5000))
        assert b" 408 " in stalled.recv(1000).splitlines()[0]
    wait_until(lambda: not incoming(server))
    for garbage in (b"\x00" * 1000, b"GET / HTTP/9.9\r\n\r\n", b"POST /v1/keys HTTP/1.1\r\n"):
        with server.connect() as broken:
            broken.sendall(garbage)
    assert server.ask("GET", "/health").status_code == 200


def test_damaged_ciphertexts_and_keys_get_a_reason(
    server: Running, client: Client, remote: Remote, x: Array
) -> None:
    header = Header("inputs", client.model, client.keys, 1)
    for part in (b"", bytes(300), b"\x80\x04N."):
        id = remote.submit(pack_samples(header, [[part]]))
        with pytest.raises(ServingError, match="S001"):
            remote.results(id)
        state = remote.state(id)
        assert (state["state"], state["error"]["code"]) == ("failed", "S001")
    damaged = pack_keys(Header("keys", client.model, client.keys), bytes(5000))
    token = server.ask("POST", "/v1/keys", content=damaged).json()["token"]
    with Remote(server.url, token=token) as other:
        with pytest.raises(ServingError, match="S001"):
            other.run(client.encrypt(x[:1]))
        other.forget()
    assert len(client.decrypt_integers(remote.run(client.encrypt(x[:1])))[0]) == 1


def test_an_evaluator_that_ends_takes_one_request_along(
    server: Running, client: Client, remote: Remote, x: Array
) -> None:
    id = remote.submit(client.encrypt(np.tile(x, (20, 1))))
    wait_until(lambda: remote.state(id)["state"] == "running")
    os.kill(server.worker(), signal.SIGKILL)
    with pytest.raises(ServingError, match=r"S003.*SIGKILL"):
        remote.results(id)
    assert len(client.decrypt_integers(remote.run(client.encrypt(x[:1])))[0]) == 1
    assert server.figure("evaluator_restarts") == 1


def test_cancelling_what_runs(server: Running, client: Client, remote: Remote, x: Array) -> None:
    id = remote.submit(client.encrypt(np.tile(x, (20, 1))))
    wait_until(lambda: remote.state(id)["state"] == "running")
    assert server.ask("DELETE", f"/v1/requests/{id}", remote.token).status_code == 204
    assert len(client.decrypt_integers(remote.run(client.encrypt(x[:1])))[0]) == 1


def test_a_full_queue_says_when_to_come_again(
    path: Path, client: Client, tmp_path: Path, x: Array
) -> None:
    server = Running(path, tmp_path / "data", queue=2, client_queue=1, clients=2)
    inputs = client.encrypt(np.tile(x, (20, 1)))
    with (
        Remote(server.url, patience=0) as first,
        Remote(server.url, patience=0) as second,
        Remote(server.url, patience=0) as third,
    ):
        first.register(client)
        second.register(client)
        with pytest.raises(ServingError, match="as many clients as may be"):
            third.register(client)
        id = first.submit(inputs)
        for token, status in [(first.token, 429), (second.token, 202), (second.token, 429)]:
            answer = server.ask("POST", "/v1/requests", token, content=inputs)
            assert answer.status_code == status
            assert (int(answer.headers.get("Retry-After", 0)) > 0) is (status == 429)
        assert server.ask("GET", f"/v1/requests/{id}/results", first.token).status_code == 409
        second.forget()
        third.register(client)
        waiting = third.submit(client.encrypt(x[:1]))
        answer = server.ask("POST", "/v1/requests", first.token, content=io.BytesIO(inputs))
        assert answer.status_code in (429, 503)
        assert server.ask("DELETE", f"/v1/requests/{id}", first.token).status_code == 204
        results = third.results(waiting)
        assert len(client.decrypt_integers(results)[0]) == 1
    server.stop()


def test_a_killed_server_goes_on_where_it_was(
    path: Path, client: Client, tmp_path: Path, x: Array
) -> None:
    data = tmp_path / "data"
    server = Running(path, data)
    with Remote(server.url) as remote:
        token = remote.register(client)
        many = np.tile(x, (4, 1))
        ids = [remote.submit(client.encrypt(many)), remote.submit(client.encrypt(x))]
        wait_until(lambda: remote.state(ids[0])["state"] == "running")
        with server.connect() as cut:
            head = "Host: x\r\nContent-Length: 100000\r\n\r\n"
            cut.sendall(f"POST /v1/keys HTTP/1.1\r\n{head}".encode() + bytes(5000))
            wait_until(lambda: incoming(server))
            worker = server.worker()
            server.kill()
    wait_until(lambda: not Path(f"/proc/{worker}").exists())
    again = Running(path, data)
    assert not incoming(again)
    model = lutra.load(path)
    with Remote(again.url, token=token) as remote:
        for id, samples in zip(ids, (many, x), strict=True):
            found = client.decrypt(remote.results(id))
            np.testing.assert_array_equal(found, model.predict(samples))
        remote.forget()
    again.stop()
    for name in ("incoming", "clients", "requests"):
        assert not list((data / name).iterdir())


def test_a_server_that_is_not_there() -> None:
    with (
        Remote("http://127.0.0.1:1", patience=0) as remote,
        pytest.raises(ServingError, match="S005"),
    ):
        remote.client_part()
    with pytest.raises((InputError, ServingError)):
        Remote("http://[::", patience=0).client_part()


def test_keys_of_another_model_are_refused(server: Running, tmp_path: Path, remote: Remote) -> None:
    other = client_of(saved(tmp_path, hidden=2))
    with Remote(server.url) as stranger, pytest.raises(ServingError, match="S002"):
        stranger.register(other)
