"""From a model to a circuit."""

from __future__ import annotations

import dataclasses
import inspect
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any

from lutra.backends import registry
from lutra.backends.base import Backend
from lutra.cache import compiled, key_of
from lutra.clear import leave_clear
from lutra.frontends.registry import import_source
from lutra.ir.core import Module
from lutra.ir.errors import Error, InputError, ModelError, PipelineError, did_you_mean
from lutra.ir.types import Array
from lutra.model import Model, silent
from lutra.passes import Context, Pass, Pipeline
from lutra.passes.base import Progress
from lutra.passes.check_support import complaints
from lutra.passes.instruments import Instrument
from lutra.pricing import prices_for
from lutra.security import STRICT, check_p_error, check_rounding
from lutra.signature import Signature

log = logging.getLogger(__name__)


def compile(
    model: Any,
    calibration: Any = None,
    pipeline: str | Pass | Sequence[Pass] = "default",
    *,
    backend: str = "concrete",
    p_error: float | None = None,
    global_p_error: float | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    clear: Collection[str] = (),
    options: Mapping[str, Any] | None = None,
    share_results: bool = False,
    max_p_error: float | None = None,
    executor: Executor | None = None,
    cache: bool = False,
    instruments: Sequence[Instrument] = (),
    progress: Progress | None = None,
) -> Model:
    """Compile an ONNX model into a circuit for encrypted data.

    model: a path, the bytes of an ONNX file, an `onnx.ModelProto`, a `torch.nn.Module` (also of
        Brevitas), a fitted estimator of scikit-learn, what a plugin reads
        (`lutra.frontends.registry`), or a module with one graph `main`, which is left as it is.
    calibration: typical inputs, some hundred: an array (samples, ...) as the model's batch axis
        has it, or a dict of arrays by input name. Needed by passes that observe values, and as
        examples by PyTorch models.
    pipeline: the text of a pipeline such as `default{weights=4,rounding=5}`, or passes.
    backend: the name of what will run the circuit.
    p_error: chance that one table look-up is off.
    global_p_error: chance that any look-up of a sample is off.
    shapes: shapes of inputs whose axes the model leaves open, by name.
    clear: names of inputs that are not encrypted, which the server gets to know: see
        docs/security.md. Sums and products of clear and encrypted values take no look-ups.
    options: further options of the backend.
    share_results: decrypted results may become known to the server or to others. Then the default
        p_error is 2^-40, and a higher one is refused (I006), as is approximate rounding: see
        docs/security.md.
    max_p_error: the same with another bound.
    executor: where calibration samples run, in shards; here without. The result is the same.
    cache: take the model from the user's cache folder where it was compiled before from the same
        model, data and options with the same software, or keep it there; see docs/models.md.
    instruments: watch the pipeline run, for which it runs in any case.
    progress: called as progress(what, done, total) during long steps, also those of predictions.

    The backend emits the circuit when it is first needed. Errors: F... for the model, C... and
    I... for data and options, P... for the pipeline, B... for what the backend does not take.
    """
    chosen = registry.find(backend)
    if share_results or max_p_error is not None:
        p_error = _bounded(p_error, global_p_error, options, share_results, max_p_error)
    emission = _options(chosen, p_error, global_p_error, options)
    passes = Pipeline.of(pipeline)
    module = imported(model, calibration, shapes, clear)
    context = Context(
        samples=None if calibration is None else samples_of(module, calibration),
        lookup_bits=chosen.limits.lookup_bits,
        value_bits=chosen.limits.value_bits,
        backend=backend,
        prices=prices_for(chosen, emission),
        progress=progress or silent,
        executor=executor,
    )

    def run() -> Model:
        records = passes.execute(module, context, instruments)
        for depth, record in (pair for top in records for pair in top.walk()):
            name = "  " * depth + record.item.name
            log.debug("%-30s %8.3f s  %d changes", name, record.seconds, record.changes)
        log.info("compiled in %.1f s", sum(record.seconds for record in records))
        _require_circuit(module, passes)
        if share_results:
            check_rounding(module.circuit)
        return Model(
            module,
            pipeline=str(passes),
            backend=backend,
            options=emission,
            records=records,
            choices=context.notes.choices,
        )

    if cache and not instruments:
        key = key_of(module, context.samples, passes, backend, emission, share_results)
        found = compiled(key, run)
    else:
        found = run()
    found.progress = progress or silent
    return found


def imported(
    model: Any,
    calibration: Any,
    shapes: Mapping[str, Sequence[int]] | None,
    clear: Collection[str] = (),
) -> Module:
    """The module of a model that `compile` takes; of one that is a module already, a copy."""
    if isinstance(model, Module):
        module = model.clone()
    else:
        further = partial(_not_encrypted, clear=clear)
        module = import_source(model, shapes=shapes, examples=calibration, further=further)
    leave_clear(module, clear)
    return module


def _not_encrypted(module: Module, clear: Collection[str]) -> Iterator[tuple[str, str]]:
    """What cannot run under encryption of a model that cannot be imported either, by node names."""
    try:
        leave_clear(module, clear)
        Pipeline.parse("import-quantized,clean").execute(module)
    except Error:  # the nodes in the way may stand in that of a pass as well
        return
    for names, line in complaints(module.main):
        yield from ((name, line) for name in names[:1])


def samples_of(module: Module, calibration: Any) -> Mapping[str, Array]:
    """Calibration data as arrays (samples, *shape) by input name. Errors C001, C002, I..."""
    arrays = calibration.values() if isinstance(calibration, Mapping) else [calibration]
    if any(map(_is_empty, arrays)):
        raise InputError(
            "C001", "the calibration set is empty", help="give some hundred typical inputs"
        )
    return Signature.of(module).arrange(calibration, not_finite="C002").arrays


def _is_empty(array: Any) -> bool:
    try:
        return len(array) == 0
    except TypeError:  # no sequence; whatever else it is, `arrange` says
        return False


def _require_circuit(module: Module, pipeline: Pipeline) -> None:
    """P009 where the pipeline made no circuit, F004 where the circuit computes nothing."""
    if not module.partitioned:
        raise PipelineError(
            "P009",
            "the pipeline ends without a circuit",
            lines=[str(pipeline)],
            help="end it with `partition,legalize`, as `default` does",
        )
    if not module.circuit.outputs:
        raise ModelError(
            "F004",
            "nothing of this model would be computed under encryption",
            help="encryption begins at the first layer with weights: Conv, Gemm or MatMul",
        )


def _options(
    backend: Backend,
    p_error: float | None,
    global_p_error: float | None,
    options: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What the backend will be given. Error I005 for a value or an option that it does not take."""
    chosen = dict(options or {})
    for name, value in (("p_error", p_error), ("global_p_error", global_p_error)):
        if value is not None:
            if not _is_probability(value):
                raise InputError("I005", f"{name}={value!r} is not a number between 0 and 1")
            chosen[name] = float(value)
    if global_p_error is not None:
        chosen.setdefault("p_error", None)
    for name, value in chosen.items():
        if not isinstance(value, str | bool | int | float | None):
            raise InputError("I005", f"option {name}={value!r} is no number or text")
    try:
        inspect.signature(backend.emit).bind(None, **chosen)
        # a backend whose `emit` takes them all says in `Options` what there is
        getattr(backend, "Options", dict)(**chosen)
    except TypeError as error:
        raise InputError(
            "I005",
            f"backend `{backend.name}` refuses options: {error}",
            help=_nearest_option(backend, chosen),
        ) from error
    return chosen


def _nearest_option(backend: Backend, options: Mapping[str, Any]) -> str:
    """A way out where an option is misspelt; nothing where the backend does not list any."""
    listed = getattr(backend, "Options", None)
    if listed is None:
        return ""
    known = [field.name for field in dataclasses.fields(listed)]
    unknown = [name for name in options if name not in known]
    return did_you_mean(unknown[0], known) if unknown else ""


def _bounded(
    p_error: float | None,
    global_p_error: float | None,
    options: Mapping[str, Any] | None,
    share_results: bool,
    max_p_error: float | None,
) -> float | None:
    """The p_error to compile with, which is the highest that is allowed unless one is given."""
    given = p_error if p_error is not None else (options or {}).get("p_error")
    if given is None and global_p_error is None:
        most = [STRICT] * share_results + [p for p in (max_p_error,) if p is not None]
        return min(most)
    check_p_error(given, global_p_error, share_results=share_results, max_p_error=max_p_error)
    return p_error


def _is_probability(value: Any) -> bool:
    return isinstance(value, int | float) and 0 < value < 1
