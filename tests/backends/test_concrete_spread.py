"""Encrypted samples on executors: processes of this machine, threads, a Dask cluster."""

import os
import pickle
import signal
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from encrypted import Encrypted
from lutra.backends.concrete import ConcreteExecutable, spread
from lutra.backends.concrete.spread import Parcel, Worker, evaluate
from lutra.ir.errors import BackendError
from lutra.ir.types import Array
from lutra.pool import Pool

TABLE = """
%x = input : u3[2] in [0, 7]
%0 = lookup %x, base=0, table=[3, 1, -2, 0, 2, 2, 5, -3]  loc "/act/Relu"
return %0
"""
ENTRIES = np.array([3, 1, -2, 0, 2, 2, 5, -3])

pytestmark = pytest.mark.encrypted


@pytest.fixture(scope="module")
def executable(encrypted: Encrypted) -> ConcreteExecutable:
    return encrypted.compile(TABLE)


def samples(count: int) -> Array:
    return np.random.default_rng(1).integers(0, 8, (count, 2))


def test_a_parcel_holds_nothing_secret(executable: ConcreteExecutable) -> None:
    parcel = executable.parcel
    assert executable.parcel is parcel
    files, keys = pickle.loads(parcel.content)
    assert (files, keys) == (executable.specification, parcel.keys)
    assert parcel.keys == executable.client.evaluation_keys.to_bytes()


def test_processes_answer_every_sample_once_though_one_is_killed(
    executable: ConcreteExecutable,
) -> None:
    x = samples(6)
    seen: list[int] = []
    pool = Pool(2)

    def watch(done: int, total: int) -> None:
        seen.append(done)
        if done == 2:
            pool.submit(os.kill, pool.submit(os.getpid).result(), signal.SIGKILL)

    (found,) = executable.run(x, progress=watch, executor=pool)
    np.testing.assert_array_equal(found, ENTRIES[x])
    assert seen == [*range(1, 7)]


def test_threads_answer_in_any_order(executable: ConcreteExecutable) -> None:
    x = samples(5)
    with ThreadPoolExecutor(2) as threads:
        (found,) = executable.run(x, executor=threads)
    np.testing.assert_array_equal(found, ENTRIES[x])
    assert executable.run(x[:0], executor=threads)[0].shape == (0, 2)


def test_a_worker_reads_its_parcel_once(
    executable: ConcreteExecutable, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    class Seen(Worker):
        def __init__(self, parcel: Parcel) -> None:
            made.append(parcel)
            super().__init__(parcel)

    monkeypatch.setattr(spread, "_workers", {})
    monkeypatch.setattr(spread, "Worker", Seen)
    parcel = executable.parcel
    sample = executable.client.encrypt(samples(1)[0]).to_bytes()
    for _ in range(2):
        assert len(evaluate(parcel.digest, parcel.content, sample)) == 1
    assert made == [parcel]


def test_a_worker_refuses_what_is_not_the_callers(executable: ConcreteExecutable) -> None:
    with pytest.raises(BackendError, match="other keys") as caught:
        evaluate("0" * 64, executable.parcel.content, [])
    assert caught.value.code == "B006"


class Ended(Executor):
    """Takes calls, and ends before it answers."""

    def submit(self, *_: Any, **__: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_exception(BrokenExecutor("gone"))
        return future


def test_workers_that_always_end_are_an_error(executable: ConcreteExecutable) -> None:
    with pytest.raises(BackendError, match=r"workers end before they answer.*gone") as caught:
        executable.run(samples(2), executor=Ended())
    assert caught.value.code == "B006"


def test_what_a_worker_raises_is_an_error(
    executable: ConcreteExecutable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise MemoryError("full")

    monkeypatch.setattr(spread, "_worker", fail)
    with (
        ThreadPoolExecutor(1) as threads,
        pytest.raises(BackendError, match="a worker failed: MemoryError: full"),
    ):
        executable.run(samples(2), executor=threads)


@pytest.fixture
def cluster() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def test_a_cluster_answers_every_sample_once_though_a_worker_is_killed(
    executable: ConcreteExecutable, cluster: Any
) -> None:
    x = samples(12)
    seen: list[int] = []

    def watch(done: int, total: int) -> None:
        seen.append(done)
        if done == 3:
            (pid, *_) = cluster.run(os.getpid).values()
            os.kill(pid, signal.SIGKILL)

    (found,) = executable.run(x, progress=watch, executor=cluster.get_executor())
    np.testing.assert_array_equal(found, ENTRIES[x])
    assert seen == [*range(1, 13)]
