"""One model, one client with keys, and one server for the tests of serving."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lutra.client import Client
from lutra.testing.serving import Running
from served import client_of, saved


@pytest.fixture(scope="package")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="package")
def client(path: Path) -> Client:
    return client_of(path)


@pytest.fixture(scope="package")
def server(path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    running = Running(
        path, tmp_path_factory.mktemp("data"), input_mb=0.5, key_mb=20, stall_seconds=1
    )
    yield running
    running.stop()
