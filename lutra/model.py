"""A compiled model: predictions in the clear, simulated and encrypted, and what they cost."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np

from lutra.backends import registry
from lutra.backends.base import Executable, statistics_of
from lutra.ir.analysis import look_ups
from lutra.ir.core import Module
from lutra.ir.errors import InputError, did_you_mean
from lutra.ir.ops import Assume
from lutra.ir.program import Program, wrapped
from lutra.ir.types import Array
from lutra.passes import Record
from lutra.passes.base import Progress
from lutra.signature import Signature

if TYPE_CHECKING:
    from lutra.backends.numpy import NumpyExecutable
    from lutra.page.drawing import Drawing
    from lutra.page.evidence import Evidence
    from lutra.report import Report

log = logging.getLogger(__name__)

LONG = 60.0
"""Seconds of key generation of which a warning tells."""

Mode: TypeAlias = Literal["clear", "simulate", "encrypt"]
Options: TypeAlias = Mapping[str, Any]
Outputs: TypeAlias = Sequence[Array]

DEFAULT_P_ERROR = 1e-5
"""Taken by `simulate` where no option says more; backend `concrete` has the same default."""

CHUNK = 1024
"""Samples that go through the circuit in the clear at once."""


def silent(what: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


class Model:
    """What `lutra.compile` makes and `lutra.load` reads.

    module: the graphs `encode`, `circuit` and `decode`.
    pipeline: the text of the pipeline that made them.
    backend, options: the name of the backend and what it emits the circuit with.
    signature: inputs and outputs.
    records: what each pass did; empty for a loaded model.
    choices: what the pipeline chose between alternatives, and why.
    violations: after a clear or simulated prediction, how many values left the range that
        calibration observed, by layer. Such values wrap around in look-ups.
    """

    def __init__(
        self,
        module: Module,
        *,
        pipeline: str,
        backend: str = "concrete",
        options: Options | None = None,
        records: Sequence[Record] = (),
        choices: Sequence[str] = (),
        progress: Progress | None = None,
    ) -> None:
        self.module = module
        self.pipeline = pipeline
        self.backend = backend
        self.options = dict(options or {})
        self.signature = Signature.of(module)
        self.records = tuple(records)
        self.choices = tuple(choices)
        self.progress = progress or silent
        self.violations: dict[str, int] = {}
        self._program = Program(module)
        self._executable: Executable | None = None
        self._clear: tuple[int, NumpyExecutable] | None = None

    # --- predictions ----------------------------------------------------------------------------
    def predict(
        self,
        x: Any,
        mode: Mode = "clear",
        *,
        seed: int | None = None,
        executor: Executor | int | None = None,
    ) -> Array | tuple[Array, ...]:
        """The model's output for every sample of x; a tuple where it has several outputs.

        x: an array, or a dict of arrays by name where the model has several inputs. A model with a
        batch axis takes and returns (samples, ...), as onnxruntime does; a model without one takes
        its own shape, or (samples, *shape) for many.

        mode: `clear` computes the circuit's integers without encryption, bit by bit as they are
        meant; `simulate` adds look-up errors with the circuit's `p_error`; `encrypt` generates keys
        if there are none, encrypts, runs the circuit on ciphertexts and decrypts.

        seed: of the errors that are simulated; others every time without.

        executor: where encrypted samples are computed: a `concurrent.futures.Executor`, or a number
        of processes of this machine. Without, samples that take long enough together are spread
        over processes, one for each core, and others are computed here. Workers get evaluation keys
        alone: encryption and decryption stay here.

        Errors: I001 to I004 where x does not fit, I005 for another mode, B... from the backend.
        """
        batch = self.signature.arrange(x)
        encoded = self._program.encode(batch.arrays)
        circuit = self.evaluate(encoded, mode, seed=seed, executor=executor)
        results = self.signature.release(self._program.decode(circuit, batch.arrays), batch.form)
        return results[0] if len(results) == 1 else tuple(results)

    # --- the same step by step: encode, evaluate, decode ----------------------------------------
    def encode(self, x: Any) -> tuple[Array, ...]:
        """What the client sends, encrypted or clear: integers for each input of the circuit.

        Of shape (samples, *shape).

        x: as of `predict`. Errors I001 to I004 where it does not fit.
        """
        return self._program.encode(self.signature.arrange(x).arrays)

    def evaluate(
        self,
        q: Outputs,
        mode: Mode = "clear",
        *,
        seed: int | None = None,
        executor: Executor | int | None = None,
    ) -> tuple[Array, ...]:
        """What the client decrypts: integers (samples, *shape) for each output of the circuit.

        q: what `encode` gives. mode, seed, executor: as of `predict`. Errors: I001, I002, I004 and
        I005, B...
        """
        if mode not in get_args(Mode):
            raise InputError("I005", f"no mode {mode!r}", help=did_you_mean(mode, get_args(Mode)))
        if mode == "encrypt":
            run = self._encrypted(executor)
        else:
            run = self._in_clear(mode == "simulate", seed)
        types = [value.int_type for value in self.module.circuit.outputs]
        return tuple(wrapped(t, a) for t, a in zip(types, run(q), strict=True))

    def decode(self, results: Outputs, x: Any = None) -> tuple[Array, ...]:
        """The model's outputs (samples, *shape) from what `evaluate` gives.

        x: the model's inputs, for the few models that read them here again. Error I004 where they
        are missing or the number of results is not the circuit's.
        """
        inputs = {} if x is None else self.signature.arrange(x).arrays
        return self._program.decode(results, inputs)

    def _in_clear(self, simulate: bool, seed: int | None) -> Callable[[Outputs], Outputs]:
        from lutra.backends import numpy as clear

        circuit = self.module.circuit
        if simulate:
            executable = clear.emit(circuit, p_error=self.p_error, seed=seed)
        else:
            if self._clear is None or self._clear[0] != circuit.version:
                self._clear = (circuit.version, clear.emit(circuit))
            executable = self._clear[1]
        before = executable.violations

        def run(q: Outputs) -> Outputs:
            samples = len(q[0]) if q else 1
            parts = []
            for start in range(0, max(1, samples), CHUNK):
                self.progress("samples", start, samples)
                parts.append(executable.run(*(a[start : start + CHUNK] for a in q)))
            self.progress("samples", samples, samples)
            new = {op: n - before.get(op, 0) for op, n in executable.violations.items()}
            self.violations = _by_layer(new)
            if len(parts) == 1:
                return parts[0]
            return [np.concatenate(results) for results in zip(*parts, strict=True)]

        return run

    def _encrypted(self, executor: Executor | int | None) -> Callable[[Outputs], Outputs]:
        from lutra import pool

        if isinstance(executor, int) and executor < 1:
            raise InputError("I005", f"executor={executor} is no number of processes")

        def run(q: Outputs) -> Outputs:
            self.keygen()
            self.violations = {}
            samples = len(q[0]) if q else 1
            chosen = pool.chosen(executor, samples, self.report())
            log.info("%d encrypted samples, computed by %s", samples, chosen or "this process")
            options = {} if chosen is None else {"executor": chosen}
            watch = partial(self.progress, "encrypted samples")
            watch(0, samples)
            compute: Any = self.executable.run
            results: Outputs = compute(*q, progress=watch, **options)
            return results

        return run

    # --- the backend ----------------------------------------------------------------------------
    @property
    def executable(self) -> Executable:
        """The circuit as the backend emits it; emitted on first use. Errors B..."""
        if self._executable is None:
            emit = registry.find(self.backend).emit
            self.progress("emission", 0, 1)
            start = perf_counter()
            self._executable = emit(self.module.circuit, **self.options)
            self.progress("emission", 1, 1)
            log.info("emitted for `%s` in %.1f s", self.backend, perf_counter() - start)
        return self._executable

    def keygen(
        self,
        *,
        cache: Path | None = None,
        force: bool = False,
        insecure_test_keys: bool = False,
    ) -> None:
        """Generate keys unless there are some, or in any case with `force`.

        cache: a folder in which key sets are kept, unencrypted. For tests and experiments only.
        insecure_test_keys: take keys that lie unencrypted in the user's cache folder, or put them
            there. For tests and experiments only, too.

        Error I005 where the backend does not encrypt.
        """
        generate: Any = getattr(self.executable, "keygen", None)
        if generate is None:
            raise InputError(
                "I005",
                f"backend `{self.backend}` does not encrypt",
                help="compile with backend='concrete', or predict in mode 'clear' or 'simulate'",
            )
        what = "key generation"
        expected = keygen_seconds(self.circuit_statistics())
        if expected >= 1 and not insecure_test_keys:
            what += f", about {expected:.0f} s"
        if expected >= LONG:
            log.warning(
                "key generation takes about %.0f s and much memory: look-ups of fewer bits "
                "(`rounding`) make keys smaller",
                expected,
            )
        self.progress(what, 0, 1)
        start = perf_counter()
        if insecure_test_keys:
            from lutra.cache import take_test_keys

            client: Any = getattr(self.executable, "client", None)
            if client is None:
                raise InputError("I005", f"backend `{self.backend}` keeps no keys for tests")
            take_test_keys(client)
        else:
            generate(cache=cache, force=force)
        self.progress(what, 1, 1)
        log.info("keys ready after %.1f s", perf_counter() - start)

    def circuit_statistics(self) -> dict[str, Any]:
        """What the backend says of the circuit: prices, key sizes. Emits the circuit if need be."""
        return statistics_of(self.executable)

    @property
    def pbs_count(self) -> int:
        """Programmable bootstraps of one sample."""
        from lutra.report import bootstraps

        return sum(map(bootstraps, look_ups(self.module.circuit)))

    @property
    def p_error(self) -> float:
        """The chance that one look-up is off, with which `simulate` computes.

        What the options ask for; `global_p_error` leaves an equal part to each look-up.
        """
        single, total = self.options.get("p_error"), self.options.get("global_p_error")
        bounds = [] if single is None else [float(single)]
        if total is not None:
            bounds.append(1 - (1 - float(total)) ** (1 / max(1, self.pbs_count)))
        return min(bounds, default=DEFAULT_P_ERROR)

    # --- reports and artifacts ------------------------------------------------------------------
    def report(self, *, price: bool = True) -> Report:
        """What each layer costs. `price=False` leaves out what the backend would have to tell."""
        from lutra.report import Report

        return Report.of(self, price=price)

    def plot(self) -> Drawing:
        """The circuit as a drawing: notebooks show it, and `.save` writes .svg, .dot or .onnx."""
        from lutra.page.drawing import drawing

        return drawing(self)

    def save_report(self, path: str | Path, evidence: Evidence | None = None) -> None:
        """Write a page about the model. Errors I004; those of `evidence`, which adds to it."""
        from lutra.page.page import write

        write(self, path, evidence)

    def _repr_html_(self) -> str:
        return self.report(price=False)._repr_html_()

    def save(self, path: str | Path) -> None:
        """Write the model to a file that `lutra.load` reads; keys are not written."""
        from lutra.artifact import save

        save(self, path)

    def __repr__(self) -> str:
        return f"<lutra.Model {self.signature}, {self.pbs_count} PBS, backend {self.backend}>"


def keygen_seconds(statistics: Mapping[str, Any]) -> float:
    """What generating keys will take, roughly, from their size; 0 where that is unknown.

    Fitted to 1.3 s for 118 MB and 90 s for 4.2 GB of keys, on one core of an AMD EPYC.
    """
    names = ("bootstrap_key_bytes", "keyswitch_key_bytes")
    size = sum(statistics.get(name, 0.0) for name in names)
    return float(1.3 * (size / 118e6) ** 1.19)


def _by_layer(violations: Mapping[Assume, int]) -> dict[str, int]:
    """Counts above 0 by the names of the layers' ONNX nodes."""
    counts: Counter[str] = Counter()
    for op, count in violations.items():
        counts[" + ".join(op.loc) or "(unnamed)"] += count
    return {name: count for name, count in counts.items() if count}
