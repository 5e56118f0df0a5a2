"""What holds for every valid program, by name of the property; at three levels.

A program of the float level has ONNX nodes alone, one of the integer level is a circuit, and one of
the quantized level has floats at its ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TypeAlias

import numpy as np

from lutra.backends import registry as backends
from lutra.ir.core import Graph, Module
from lutra.ir.errors import Error
from lutra.ir.interpreter import Interpreter, evaluate
from lutra.ir.parser import parse_module
from lutra.ir.samples import run_all, samples
from lutra.ir.types import Array, Int
from lutra.ir.verifier import verify
from lutra.passes import Context, Exact, Lossy, Pass, Pipeline, registry
from lutra.passes.ordering import facts
from lutra.testing.backends import check_backends
from lutra.testing.checks import (
    assert_equal,
    check_decompositions,
    check_pass,
    check_samples,
    check_text,
    check_values,
    full_text,
)

LEVELS = ("float", "quantized", "integer")
ROADS = {"float": "wide", "quantized": "fuse,partition,legalize"}
"""By level: from a program to its circuit. A program of the integer level is one."""
COUNT = 8
"""Samples where not every input is tried."""
CLEAR = ("numpy", "onnx")
"""Backends that run any circuit in no time."""
REFUSALS = frozenset({"B002", "B003", "B005", "F004", "P005", "P008", "P009", "V004"})
"""Codes of the errors that a valid program may meet: it is too wide, unsupported or out of turn."""


class Refused(Exception):
    """A pass says why it does not take a program: no failure, and no success."""


def level_of(graph: Graph) -> str:
    """The level of a program: float, quantized or integer."""
    integers = {isinstance(v.type, Int) for op in graph.ops for v in op.results} or {True}
    return "quantized" if len(integers) == 2 else "integer" if integers.pop() else "float"


@dataclass(frozen=True)
class Trial:
    """A program that properties are tried on; they leave it as it is."""

    graph: Graph

    @property
    def level(self) -> str:
        return level_of(self.graph)

    @property
    def module(self) -> Module:
        """A copy to change."""
        return Module([self.graph.clone()])

    def context(self) -> Context:
        """With calibration data where there are floats."""
        if self.level == "integer":
            return Context()
        names = [node.name for node in self.graph.inputs]
        return Context(samples=dict(zip(names, samples(self.graph, COUNT), strict=True)))

    @property
    def inputs(self) -> list[Array] | None:
        """None stands for all where there are few, or some."""
        return None if self.level == "integer" else samples(self.graph, COUNT)

    @cached_property
    def compiled(self) -> Module:
        """Encode, circuit and decode."""
        module = self.module
        _execute(ROADS[self.level], module, self.context())
        return module

    @cached_property
    def circuit(self) -> tuple[Graph, list[Array] | None]:
        """What backends run, and inputs for it; None stands for any."""
        if self.level == "integer":
            return self.graph, None
        encode = Interpreter(self.compiled.encode)
        return self.compiled.circuit, list(encode.run(samples(self.graph, COUNT)))


Check: TypeAlias = Callable[[Trial], None]
"""Raises what is wrong with a program, or Refused."""


def properties(level: str) -> dict[str, Check]:
    """What holds for every program of a level, by name.

    Of all passes that are installed those count that keep results: all that are exact, and at the
    integer level those too that move floats by their noise.
    """
    found: dict[str, Check] = {
        "verifier": lambda trial: verify(trial.module),
        "text": lambda trial: check_text(trial.graph),
        "values": lambda trial: check_values(trial.graph, trial.inputs),
        "samples": lambda trial: check_samples(trial.graph, trial.inputs),
        "decompositions": lambda trial: check_decompositions(trial.graph, trial.inputs),
    }
    for name in registry.names():
        contract = registry.find(name).contract
        if contract == Exact or (level == "integer" and contract != Lossy):
            found[f"pass {name}"] = partial(_check_pass, name)
    if level in ROADS:
        found["compiled"] = _check_compiled
    for name in CLEAR:
        found[f"backend {name}"] = partial(_check_backend, name)
    return found


def try_all(graph: Graph, checks: Mapping[str, Check]) -> Iterator[tuple[str, Exception | None]]:
    """Each check's name, and what it raised on a program; Refused where that is no failure."""
    trial = Trial(graph)
    for name, check in checks.items():
        try:
            check(trial)
        except Exception as error:  # whatever is wrong
            yield name, error
        else:
            yield name, None


def check_program(graph: Graph) -> None:
    """Check all properties of a program. AssertionError names the first that does not hold."""
    for name, error in try_all(graph, properties(level_of(graph))):
        if error is not None and not isinstance(error, Refused):
            raise AssertionError(f"{name}: {error}") from error


def check_encrypted(trial: Trial, keys: Path, count: int = 2) -> None:
    """Check that a circuit computes the same under encryption, on samples within its ranges.

    keys: a folder for keys, which circuits of equal parameters share.
    """
    graph = trial.graph
    executable = backends.find("concrete").emit(graph, strategy="precision", p_error=1e-7)
    if executable.costs.bootstraps:  # type: ignore[attr-defined]  # no other backend has keys
        executable.keygen(cache=keys)  # type: ignore[attr-defined]
    inputs = samples(graph, count)
    results, kept = run_all(graph, inputs)
    for index in np.flatnonzero(kept):
        found = executable.run(*(array[index : index + 1] for array in inputs))
        for value, array in zip(graph.outputs, found, strict=True):
            wanted = np.broadcast_to(results[value], (len(kept), *value.shape))
            message = f"encryption differs: {value.owner!r}"
            np.testing.assert_array_equal(array, wanted[index : index + 1], message)


def _execute(items: str | Pass, module: Module, context: Context) -> None:
    try:
        Pipeline.of(items).execute(module, context)
    except Error as error:
        raise _refused(error) from error


def _refused(error: Error) -> Exception:
    return Refused(error) if error.code in REFUSALS else error


def _check_pass(name: str, trial: Trial) -> None:
    """What `check_pass` does, and that passes on integers keep every one of them."""
    item, module, context = registry.find(name)(), trial.module, trial.context()
    for before in _needed(item, module):
        _execute(before, module, context)
    wanted = module.clone()
    try:
        check_pass(module, item, context=context, count=COUNT)
    except Error as error:
        raise _refused(error) from error
    if trial.level == "integer" and item.contract != Exact:
        _check_equal(wanted, module)


def _check_equal(old: Module, new: Module) -> None:
    inputs = samples(old.main, COUNT)
    _, kept = run_all(old.main, inputs)
    pairs = zip(evaluate(old.main, inputs), evaluate(new.main, inputs), strict=True)
    for one, other in pairs:
        np.testing.assert_array_equal(other[kept], one[kept])


def _needed(item: Pass, module: Module) -> list[Pass]:
    """Exact passes that provide what a pass requires and a module lacks."""
    lacking, found = item.requires - facts(module), []
    for name in registry.names():
        cls = registry.find(name)
        if cls.contract == Exact and cls.provides & lacking:
            lacking -= cls.provides
            found.append(cls())
    return found


def _check_compiled(trial: Trial) -> None:
    """The verifier accepts what each pass leaves; what comes out reads back and keeps ranges."""
    text = full_text(trial.compiled)
    again = parse_module(text)
    verify(again)
    assert_equal(text, full_text(again), "the text reads back as another one")
    check_values(*trial.circuit)


def _check_backend(name: str, trial: Trial) -> None:
    check_backends(*trial.circuit, [name])
