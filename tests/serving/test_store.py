"""What a server keeps: whole or not at all, for one model, by one server at a time."""

import asyncio
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lutra.ir.errors import InputError, ServingError
from lutra.serving.limits import Limits
from lutra.serving.store import Store, StoredClient, StoredRequest

pytest.importorskip("prometheus_client")

from lutra.serving.metrics import Metrics
from lutra.serving.requests import Requests


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path, "model")
    yield store
    store.close()


def a_client(store: Store) -> tuple[StoredClient, str]:
    folder = store.new()
    (folder / "keys").write_bytes(b"keys")
    return store.keep_client(folder, "name", 4)


def a_request(store: Store, client: StoredClient) -> StoredRequest:
    folder = store.new()
    (folder / "inputs").write_bytes(b"inputs")
    return store.keep_request(folder, client.id, 3)


def requests_of(store: Store, **limits: float) -> Requests:
    return Requests(store, Limits(**limits), Metrics(), [])  # type: ignore[arg-type]


def files(store: Store) -> int:
    return sum(path.is_file() for path in store.folder.rglob("*"))


def test_what_is_kept_is_found_again(tmp_path: Path) -> None:
    store = Store(tmp_path, "model")
    client, token = a_client(store)
    request = a_request(store, client)
    store.close()
    again = Store(tmp_path, "model")
    assert again.client_of(token) == client
    assert again.requests == {request.id: request}
    assert again.key_bytes == 4
    assert token not in "".join(p.read_text() for p in tmp_path.rglob("*") if p.is_file())
    again.drop_client(client.id)
    assert not again.requests
    assert again.client_of(token) is None
    assert files(again) == 2  # lock and model
    again.close()


def test_what_is_not_whole_is_removed(tmp_path: Path) -> None:
    store = Store(tmp_path, "model")
    client, _ = a_client(store)
    broken, request = a_client(store)[0], a_request(store, client)
    (store.new() / "keys").write_bytes(b"part")
    store.close()
    (store.keys_of(broken.id).with_name("client.json")).write_text("{")
    (tmp_path / "requests" / "odd").mkdir()
    (tmp_path / "incoming" / "file").write_text("")
    again = Store(tmp_path, "model")
    assert list(again.clients) == [client.id]
    assert list(again.requests) == [request.id]
    assert not list((tmp_path / "incoming").iterdir())
    again.close()


def test_requests_without_a_client_are_removed(tmp_path: Path) -> None:
    store = Store(tmp_path, "model")
    client, _ = a_client(store)
    a_request(store, client)
    store.keys_of(client.id).with_name("client.json").unlink()
    store.close()
    again = Store(tmp_path, "model")
    assert not again.clients
    assert not again.requests
    again.close()


def test_one_server_and_one_model(store: Store) -> None:
    with pytest.raises(ServingError, match="another server"):
        Store(store.folder, "model")
    store.close()
    with pytest.raises(ServingError, match="another model"):
        Store(store.folder, "other")
    store._lock = os.open(store.folder, os.O_RDONLY)


def test_nobody_else_may_read_it(store: Store) -> None:
    client, _ = a_client(store)
    assert not store.keys_of(client.id).parent.stat().st_mode & 0o077


def test_requests_go_on_after_a_restart(store: Store) -> None:
    client, _ = a_client(store)
    new, begun, often, done, failed = (a_request(store, client) for _ in range(5))
    store.begin(begun)
    store.begin(often)
    store.begin(often)
    store.results_of(done.id).write_bytes(b"")
    store.fail(failed.id, ServingError("S001", "why", help="so"))
    requests = requests_of(store)
    states = {id: request.state for id, request in requests.active.items()}
    assert [states[r.id] for r in (new, begun, often, done, failed)] == [
        *("queued", "queued", "failed", "done", "failed"),
    ]
    error = requests.active[failed.id].error
    assert error is not None
    assert (error.code, error.message, error.help) == ("S001", "why", "so")
    assert "twice" in str(store.error_of(often.id))
    for request in list(requests.active):
        requests.drop(request)
    assert not store.requests


def test_what_is_old_expires(store: Store) -> None:
    client, _ = a_client(store)
    request = a_request(store, client)
    store.results_of(request.id).write_bytes(b"")
    requests = requests_of(store, result_seconds=100, key_seconds=1000)
    requests.expire()
    assert request.id in requests.active
    request.created -= 101
    requests.expire()
    assert not requests.active
    assert client.id in store.clients
    os.utime(store.keys_of(client.id), (time.time() - 1001,) * 2)
    requests.expire()
    assert not store.clients
    assert files(store) == 2


def test_results_are_kept_from_when_they_were_made(store: Store) -> None:
    client, token = a_client(store)
    os.utime(store.keys_of(client.id), (0, 0))
    assert store.client_of(token) == client
    assert time.time() - store.heard_of(client.id) < 100


def test_limits_are_above_zero() -> None:
    with pytest.raises(InputError, match="queue=0"):
        Limits(queue=0)


def test_reserved_places_count(store: Store) -> None:
    from lutra.serving.evaluator import Evaluator
    from lutra.serving.refusal import Refusal

    evaluators = [Evaluator(Path("none"), 1, Path("none"))]
    requests = Requests(store, Limits(queue=2, client_queue=1), Metrics(), evaluators)
    with requests.reserved("a"), requests.reserved("b"):
        for client, status in [("a", 429), ("c", 503)]:
            with pytest.raises(Refusal) as caught, requests.reserved(client):
                pass
            assert caught.value.status == status
            assert int(caught.value.headers["Retry-After"]) > 0
    with requests.reserved("c"):
        pass


def test_an_evaluator_that_cannot_start(tmp_path: Path) -> None:
    from lutra.serving.evaluator import Evaluator

    evaluator = Evaluator(tmp_path / "none.lutra", 1, tmp_path / "scratch")

    async def start() -> None:
        try:
            await evaluator.start()
        finally:
            await evaluator.stop()

    with pytest.raises(ServingError, match=r"S003.*exit code 1"):
        asyncio.run(start())
    assert not (tmp_path / "scratch").exists()


def test_notes_are_written_at_once(store: Store) -> None:
    client, _ = a_client(store)
    request = a_request(store, client)
    store.begin(request)
    note = store.inputs_of(request.id).with_name("request.json")
    assert json.loads(note.read_text())["attempts"] == 1
    store.unbegin(request)
    assert json.loads(note.read_text())["attempts"] == 0
