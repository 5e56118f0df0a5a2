"""Runs an experiment's trials on an executor, and keeps what they gave."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from pathlib import Path
from typing import TypeAlias

from lutra.experiment import trial as trials
from lutra.experiment.results import results_at
from lutra.experiment.rows import Row
from lutra.experiment.spec import Experiment, load
from lutra.experiment.trial import Trial

Progress: TypeAlias = Callable[[Row, int, int], None]
"""progress(row, done, total): called for every row that is new, with the rows that there are."""


def run_experiment(
    file: str | Path | Experiment,
    results: str | Path | None = None,
    *,
    executor: Executor | None = None,
    jobs: int | None = None,
    retry: bool = False,
    progress: Progress = lambda row, done, total: None,
) -> list[Row]:
    """Run the trials whose rows are not in the results file yet; returns the rows of all.

    results: `.csv` or `.parquet`; beside the experiment's file, under its name, by default. A row
        is written as soon as its trial ends. A trial that fails is a row with an error's code.
    executor: where trials run, one call of `lutra.experiment.trial.run` each; they need to see the
        models under the same paths. jobs: take that many processes of this machine instead, which
        survive a trial that ends its process. With neither, trials run here one after the other.
    retry: run the trials again whose rows hold an error.

    Errors: X001, X002 and P... where the file is wrong, before anything runs; X006 for the results.
    """
    experiment = file if isinstance(file, Experiment) else load(file)
    path = default_results(experiment) if results is None else Path(results)
    store = results_at(path, experiment.columns)
    rows = store.read()
    wanted = trials.trials(experiment)
    measured = {_content(row): row for row in rows.values() if not (retry and "error" in row)}
    missing: dict[str, list[Trial]] = {}
    for trial in wanted:
        if trial.key not in rows or trial.content not in measured:
            missing.setdefault(trial.content, []).append(trial)
    known = [measured[content] for content in missing if content in measured]
    unknown = [alike[0] for content, alike in missing.items() if content not in measured]
    done = len(wanted) - sum(map(len, missing.values()))
    for row in itertools.chain(known, _run(unknown, executor, jobs)):
        for trial in missing[_content(row)]:
            own = row if row["key"] == trial.key else trials.same(trial, row)
            store.add(own)
            rows[trial.key] = own
            done += 1
            progress(own, done, len(wanted))
    return [rows[trial.key] for trial in wanted]


def _content(row: Row) -> str:
    return str(row["key"]).split("-")[0]


def default_results(experiment: Experiment) -> Path:
    """Where results go unless another file is named."""
    return experiment.path.with_suffix(".csv")


def _run(wanted: Sequence[Trial], executor: Executor | None, jobs: int | None) -> Iterator[Row]:
    """Rows of trials as they end."""
    if executor is not None:
        return (future.result() for _, future in _ended(executor, wanted, len(wanted)))
    if jobs is not None:
        return _in_processes(list(wanted), max(1, jobs))
    return map(trials.run, wanted)


def _in_processes(wanted: list[Trial], jobs: int) -> Iterator[Row]:
    """Rows of trials run in processes of this machine.

    A process that ends takes its pool with it. The trials under way then run again, each in a
    process of its own, which tells whose fault it was; the others go on in a new pool.
    """
    while wanted:
        suspects: list[Trial] = []
        left = {trial.key: trial for trial in wanted}
        with _pool(jobs) as pool:
            try:
                for trial, future in _ended(pool, wanted, jobs):
                    row = _row(future)
                    if row is None:
                        suspects.append(trial)
                    else:
                        yield row
                    del left[trial.key]
            except BrokenProcessPool:  # no further trial could be submitted
                if len(left) == len(wanted):
                    raise
        for trial in suspects:
            with _pool(1) as pool:
                yield _row(pool.submit(trials.run, trial)) or {
                    **trials.description(trial),
                    "error": "X004",
                    "message": "the process that ran the trial ended",
                }
        wanted = list(left.values())


def _pool(jobs: int) -> ProcessPoolExecutor:
    """Fresh processes: a fork of one that runs threads, as onnxruntime does, may hang."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(jobs, context, initializer=_end_with_parent)


def _end_with_parent() -> None:
    """Let a worker end when its parent is killed; by itself it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:

        def watch(sentinel: int) -> None:
            connection.wait([sentinel])
            os._exit(1)

        threading.Thread(target=watch, args=(parent.sentinel,), daemon=True).start()


def _row(future: Future[Row]) -> Row | None:
    """A trial's row, None if its process ended."""
    try:
        return future.result()
    except BrokenProcessPool:
        return None


def _ended(
    executor: Executor, wanted: Iterable[Trial], window: int
) -> Iterator[tuple[Trial, Future[Row]]]:
    """Futures of trials as they end, with no more than `window` under way."""
    pending: dict[Future[Row], Trial] = {}
    queue = iter(wanted)
    broken: BrokenExecutor | None = None
    try:
        while True:
            trial = next(queue, None) if broken is None and len(pending) < window else None
            if trial is not None:
                try:
                    pending[executor.submit(trials.run, trial)] = trial
                except BrokenExecutor as error:
                    broken = error
            elif pending:
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    yield pending.pop(future), future
            else:
                break
        if broken is not None:
            raise broken
    finally:
        for future in pending:
            future.cancel()
