"""When encrypted samples are spread over processes, and over how many."""

import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import pytest

from lutra import pool
from lutra.ir.errors import InputError
from lutra.ir.types import Int
from lutra.report import Layer, Report


def report(price: float, pbs: int, keys: float = 0.0) -> Report:
    layer = Layer(("fc",), Int.of((1,), 0, 15), None, True, pbs, price)
    statistics = {"bootstrap_key_bytes": keys, "keyswitch_key_bytes": 0.0, "price": price}
    return Report("", (layer,), "", "concrete", 1e-5, statistics)


def test_processes_save_what_threads_waste() -> None:
    (layer,) = report(pool.SPEED, 4).layers
    assert pool.saved(10, [layer], 1) == pytest.approx(10 * pool.SERIAL)
    assert pool.saved(10, [layer], 4) == pytest.approx(2.5 * pool.SERIAL)
    # 4 look-ups on 3 cores take the time of 6
    assert pool.saved(9, [layer], 3) == pytest.approx(3 * (6 / 4 * (1 + pool.SERIAL) - 1))
    assert pool.saved(10, [], 4) == 0.0


def test_processes_are_taken_where_they_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "cores", lambda: 4)
    monkeypatch.setattr(pool, "_available", lambda: 1e12)
    small, large = report(1e9, 40), report(1e11, 40)
    assert pool.chosen(None, 100, small) is None
    assert pool.chosen(None, 1, report(1e15, 40)) is None
    found = pool.chosen(None, 100, large)
    assert isinstance(found, pool.Pool)
    assert (found.processes, found.threads) == (4, 1)
    asked = pool.chosen(2, 1, small)
    assert isinstance(asked, pool.Pool)
    assert (asked.processes, asked.threads) == (2, 2)
    with ThreadPoolExecutor(1) as threads:
        assert pool.chosen(threads, 1, small) is threads


def test_forked_processes_are_refused() -> None:
    for how in ("fork", "spawn"):
        executor = ProcessPoolExecutor(1, get_context(how))
        if how == "spawn":
            assert pool.chosen(executor, 1, report(1e9, 40)) is executor
        else:
            with pytest.raises(InputError, match="forks processes") as caught:
                pool.chosen(executor, 1, report(1e9, 40))
            assert caught.value.code == "I005"


def test_keys_must_fit_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "cores", lambda: 8)
    monkeypatch.setattr(pool, "_available", lambda: 3e9)
    found = pool.pool(memory=0.5e9)
    assert (found.processes, found.threads) == (2, 4)
    monkeypatch.setattr(pool, "_available", lambda: 1e6)
    assert pool.chosen(None, 100, report(1e11, 40)) is None


def test_what_the_machine_has() -> None:
    assert 1 <= pool.cores() <= (os.cpu_count() or 1)
    assert 1e6 < pool._available() < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_workers_have_their_threads() -> None:
    workers = pool.Pool(1, 3)
    assert workers.submit(os.getenv, "OMP_NUM_THREADS").result() == "3"
    pid = workers.submit(os.getpid).result()
    workers.shutdown()
    assert workers.submit(os.getpid).result() == pid
    assert pid != os.getpid()
