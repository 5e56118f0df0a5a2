"""`lutra.tune`: the cheapest circuit at a stated loss of accuracy."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np

from lutra.compiler import compile, imported
from lutra.ir.core import Module
from lutra.ir.errors import Error, InputError
from lutra.ir.ops import Onnx, Quantize
from lutra.ir.program import Program
from lutra.ir.types import Array
from lutra.model import silent
from lutra.passes import Pass, Pipeline
from lutra.passes.base import Progress
from lutra.passes.presets import Default, Qat
from lutra.pricing import price
from lutra.security import STRICT, check_p_error
from lutra.signature import Batch, Signature
from lutra.tuning.evidence import worst_loss
from lutra.tuning.log import Log
from lutra.tuning.mixtures import with_mixtures
from lutra.tuning.result import Candidate, Tuning, front
from lutra.tuning.search import Found, Search
from lutra.tuning.setting import DROPPING, Setting, Variable, variables
from lutra.tuning.workload import (
    Metric,
    Outcome,
    Point,
    Workload,
    accuracy,
    reference_outputs,
    simulated,
)

P_ERRORS = (STRICT, 1e-5, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
"""What is tried where p_error is free."""
SHOWN = Default(rounding=8)
"""What shows which layers there are to vary."""
HELD_BACK = 3
"""Every third validation sample is seen by the last decision alone."""
CONFIRMATIONS = 4
"""How many times as many simulations the last decision takes."""


def tune(
    model: Any,
    calibration: Any,
    validation: tuple[Any, Array],
    metric: str | Metric = "accuracy",
    max_drop: float = 0.01,
    *,
    p_error: float | Sequence[float] | None = None,
    share_results: bool = False,
    confidence: float = 0.9,
    backend: str = "concrete",
    shapes: Mapping[str, Any] | None = None,
    clear: Collection[str] = (),
    runs: int = 2,
    trials: int = 150,
    seed: int = 0,
    log: str | Path | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Tuning:
    """Find the cheapest pipeline and p_error that keep a model's score on encrypted data.

    model, calibration, shapes, clear, progress: as of `lutra.compile`.
    validation: samples in the form of `calibration`, and their labels (samples,). Take some of the
        training data, a thousand or more; never those of the final test. Where they are fewer than
        2000, and the metric is `accuracy`, mixtures of them are added, on which the model itself
        tells how much another answer than its own may cost; if it brings its quantization, and
        does better without, the float model that it was trained as.
    metric: `accuracy`, or a function of outputs (samples, ...) and labels that gives a score for
        each sample, 0 to 1.
    max_drop: how far the mean score may fall below that of the model as it stands.
    p_error: the chance of look-up errors that is wanted, or several to choose from; by default any
        up to a tenth.
    share_results: decrypted results may become known: p_error is 2^-40, and rounding exact.
    confidence: with which `max_drop` shall hold for other samples of the same kind.
    runs: simulations, with random look-up errors, over which a score is averaged.
    trials: pipelines to try at most.
    log: a file to which trials are appended, and from which they are taken when they were run
        before with the same model, data and software.
    executor: where trials run, here one by one without. Processes need the model as a path or as
        bytes, and a metric that can be pickled.

    Errors: those of `lutra.compile`; I001, I004 and I005 for data and arguments; I007 where no
    pipeline keeps the score.
    """
    p_errors = _p_errors(p_error, share_results)
    _check(max_drop, confidence, runs, trials)
    module = imported(model, calibration, shapes, clear)
    signature = Signature.of(module)
    inputs, labels = _validation(signature, validation)
    arrays: Mapping[str, Array] = inputs.arrays
    brings = brings_quantization(module)
    if metric == "accuracy":
        judge = _judge(module, arrays, labels) if brings else module
        arrays, labels = with_mixtures(judge, arrays, labels, seed)
    given = np.arange(len(labels)) < inputs.samples
    order = np.random.default_rng(seed).permutation(len(labels))
    workload = Workload(
        model=module if executor is None or shapes or clear else model,
        calibration=signature.arrange(calibration, not_finite="C002").arrays,
        inputs={name: array[order] for name, array in arrays.items()},
        labels=labels[order],
        given=given[order],
        metric=_metric(metric),
        backend=backend,
        runs=runs,
        seed=seed,
    )
    part = workload.part(np.flatnonzero(np.arange(len(labels)) % HELD_BACK != 0))
    search = Search(
        workload=part,
        variables=_variables(module, part, Qat() if brings else SHOWN),
        brings=brings,
        exact=share_results,
        p_errors=p_errors,
        max_drop=max_drop,
        confidence=confidence,
        reference=_reference(part),
        limit=-(-trials // 2) if brings else trials,
        log=Log(None if log is None else Path(log), part.digest),
        progress=progress or silent,
        executor=executor,
    )
    search.run()
    if brings and trials > 1:
        left = trials - len(search.outcomes)
        search.outcomes.update(_without_quantizers(search, module, left))
    return _decided(search, workload)


def _without_quantizers(search: Search, module: Module, trials: int) -> dict[Setting, Outcome]:
    """What is found when the model's own quantization is dropped, and it is quantized anew."""
    try:
        found = _variables(module, search.workload, *DROPPING, SHOWN)
    except Error:
        return {}  # the model needs it
    other = dataclasses.replace(
        search,
        variables=found,
        brings=False,
        dropped=True,
        limit=trials,
        outcomes={},
        best=None,
    )
    other.run()
    return other.outcomes


def brings_quantization(module: Module) -> bool:
    """Whether a model quantizes weights or activations itself."""
    kinds = ("Quant", "QLinear", "Dequant", "BipolarQuant", "Trunc")
    return any(
        isinstance(op, Quantize) or (isinstance(op, Onnx) and op.op_type.startswith(kinds))
        for op in module.main.ops
    )


def _judge(module: Module, inputs: Mapping[str, Array], labels: Array) -> Module:
    """The model, or the float model that it was trained as, whichever tells classes better."""
    floats = module.clone()
    Pipeline(DROPPING).execute(floats)

    def score(judge: Module) -> float:
        (outputs, *_) = Program(judge.clone()).run(inputs)
        return float(accuracy(outputs, labels.reshape(len(labels), -1)[:, 0]).mean())

    return max(module, floats, key=score)


def _p_errors(given: float | Sequence[float] | None, share_results: bool) -> tuple[float, ...]:
    if given is None:
        return (STRICT,) if share_results else P_ERRORS
    found = [given] if isinstance(given, int | float) else list(given)
    if not found or not all(0 < p < 1 for p in found):
        raise InputError("I005", f"p_error={given!r} is not within 0 to 1")
    check_p_error(max(found), share_results=share_results)
    return tuple(sorted(map(float, found)))


def _check(max_drop: float, confidence: float, runs: int, trials: int) -> None:
    if not 0 < confidence < 1:
        raise InputError("I005", f"confidence={confidence!r} is not within 0 to 1")
    for name, value in (("max_drop", max_drop), ("runs", runs - 1), ("trials", trials - 1)):
        if value < 0:
            raise InputError("I005", f"{name} is too low")


def _metric(metric: str | Metric) -> Metric:
    if callable(metric):
        return metric
    if metric != "accuracy":
        raise InputError("I005", f"no metric {metric!r}", help="`accuracy`, or a function")
    return accuracy


def _validation(signature: Signature, given: tuple[Any, Array]) -> tuple[Batch, Array]:
    try:
        data, labels = given
    except (TypeError, ValueError):
        raise InputError("I005", "validation is no pair of inputs and labels") from None
    inputs = signature.arrange(data)
    labels = np.asarray(labels)
    if len(labels) != inputs.samples:
        raise InputError("I001", f"{len(labels)} labels for {inputs.samples} validation samples")
    return inputs, labels


def _reference(workload: Workload) -> Array:
    return workload.metric(reference_outputs(workload)[0], workload.labels)


def _variables(module: Module, workload: Workload, *passes: Pass) -> tuple[Variable, ...]:
    text = str(Pipeline(passes))
    made = compile(module, workload.calibration, text, backend=workload.backend)
    return variables(made.module.circuit, isinstance(passes[-1], Qat))


def _decided(search: Search, workload: Workload) -> Tuning:
    """The cheapest that holds on all validation samples, with fresh look-up errors."""
    reference = _reference(workload)
    candidates = tuple(_candidates(search))
    for found in _by_price(search):
        model = compile(
            workload.model,
            workload.calibration,
            found.setting.pipeline,
            backend=workload.backend,
            p_error=found.point.p_error,
        )
        again = dataclasses.replace(found.point, price=price(model).total)
        again = simulated(workload, model, again, CONFIRMATIONS * workload.runs, workload.seed + 1)
        if search.keeps(again, reference):
            choice = _candidate(search, found.setting, again, reference)
            return Tuning(
                model=model,
                choice=choice,
                front=front(_around(choice, candidates)),
                candidates=candidates,
                reference=float(reference.mean()),
                max_drop=search.max_drop,
                confidence=search.confidence,
                samples=len(reference),
                given=int(workload.given.sum()),
                trials=len(search.outcomes),
                seconds=sum(outcome.seconds for outcome in search.outcomes.values()),
            )
    best = max((c.score for c in candidates), default=0.0)
    raise InputError(
        "I007",
        f"none of {len(search.outcomes)} pipelines loses at most {search.max_drop:g} with "
        f"{search.confidence:.0%} confidence; the best scores {best:.4f} against "
        f"{reference.mean():.4f}",
        help="allow more with max_drop, give more validation samples, or less confidence",
    )


def _around(choice: Candidate, candidates: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
    """The candidates without those that the last decision saw through."""
    refuted = (c for c in candidates if c.price <= choice.price and c.score >= choice.score)
    dropped = {(c.pipeline, c.p_error) for c in (*refuted, choice)}
    return (*(c for c in candidates if (c.pipeline, c.p_error) not in dropped), choice)


def _by_price(search: Search) -> Iterator[Found]:
    """What kept the score in the search, cheapest first."""
    good = [
        Found(setting, point)
        for setting, outcome in search.outcomes.items()
        for point in outcome.points
        if search.keeps(point)
    ]
    yield from sorted(good, key=lambda found: found.point.price)


def _candidates(search: Search) -> Iterator[Candidate]:
    for setting, outcome in search.outcomes.items():
        for point in outcome.points:
            if point.scores is not None:
                yield _candidate(search, setting, point, search.reference)


def _candidate(search: Search, setting: Setting, point: Point, reference: Array) -> Candidate:
    assert point.scores is not None
    lost = worst_loss(point.scores, reference, search.confidence)
    score, before = float(point.scores.mean()), float(reference.mean())
    return Candidate(
        setting.pipeline, point.p_error, point.price, score, before - lost, point.changes
    )
