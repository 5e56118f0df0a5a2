"""Checks of passes and of graphs."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lutra.ir.core import Graph, Module
from lutra.ir.decompose import decomposed
from lutra.ir.errors import PipelineError
from lutra.ir.interpreter import Interpreter, evaluate
from lutra.ir.parser import parse_module
from lutra.ir.samples import every_input, run_all, samples
from lutra.ir.text import text_of_module
from lutra.ir.types import Array, Int
from lutra.ir.verifier import verify
from lutra.passes import Context, Exact, Pass, Pipeline
from lutra.passes.base import Notes
from lutra.passes.ordering import check_order
from lutra.passes.rules import RuleLog
from lutra.passes.validate import Validate, relative_error, sample_inputs, state_of, tolerance

SAMPLES = 64
"""Inputs to try, where there are too many to try all."""


def full_text(module: Module | Graph) -> str:
    """The text with all constants, as the parser reads it."""
    return text_of_module(module if isinstance(module, Module) else Module([module]), limit=None)


def check_pass(
    before: str | Module,
    pipeline: str | Pass | Sequence[Pass],
    after: str | None = None,
    *,
    context: Context | None = None,
    idempotent: bool = True,
    count: int = SAMPLES,
) -> Module:
    """Run a pipeline on IR text and check what it leaves; returns that.

    - It is `after`, if that is given. Types in texts are derived again, and so may be left out.
    - It is valid, and its text reads back.
    - Every pass has kept its contract: on every input where there are few, else on `count` ones.
    - Run again, the pipeline changes nothing, unless `idempotent` is false or the pipeline cannot
      follow itself.

    Raises AssertionError; what the passes raise; P010 for a contract.
    """
    module = parse_module(before) if isinstance(before, str) else before.clone()
    passes, context = Pipeline.of(pipeline), context or Context()
    inputs, _ = sample_inputs(module, Context(), count, seed=0)
    before_all = state_of(module)
    passes.execute(module, context, [Validate(inputs=inputs)])
    if after is None and state_of(module) == before_all:
        return module
    text = full_text(module)
    if after is not None:
        assert_equal(full_text(parse_module(after)), text, f"`{passes}` makes another text")
    verify(module)
    assert_equal(text, full_text(parse_module(text)), "the text reads back as another one")
    if idempotent:
        assert_equal(text, _again(module, passes, context), f"`{passes}` changes its own result")
    return module


def _again(module: Module, passes: Pipeline, context: Context) -> str:
    """The text after a second run; as it is where the passes do not apply to their own result."""
    try:
        check_order(passes.flat(), module)
    except PipelineError:
        return full_text(module)
    twin = module.clone()
    passes.execute(twin, replace(context, notes=Notes(), log=RuleLog()))
    return full_text(twin)


def check_graph(graph: str | Graph, inputs: Sequence[Array] | None = None) -> None:
    """Check what holds for every graph, hence for every operation that it is made of.

    - It is valid, its text reads back, and a clone is like it.
    - Every integer stays in the range of its type, and arrays have the shapes of theirs.
    - Each sample is computed for itself, and none at all is no problem.
    - Operations that decompose compute the same by their decompositions.

    inputs: arrays (samples, *shape), in order; else every input where there are few, or random
        ones. Samples that leave an assumed range need not stay in any.
    """
    if isinstance(graph, str):
        graph = parse_module(graph).main
    verify(Module([graph]))
    check_text(graph)
    check_values(graph, inputs)
    check_samples(graph, inputs)
    check_decompositions(graph, inputs)


def check_text(graph: Graph) -> None:
    """Check that the text reads back, with constants inside and aside, and that clones have it."""
    text = full_text(graph)
    again = parse_module(text).main
    assert_equal(text, full_text(again), "the text reads back as another one")
    for old, new in zip(graph.ops, again.ops, strict=True):
        assert old.loc == new.loc, f"{old!r} reads back with the origins {new.loc}"
        types = [[value.type for value in op.results] for op in (old, new)]
        assert types[0] == types[1], f"{old!r} reads back as {new!r}"
    constants: dict[str, Array] = {}
    short = text_of_module(Module([graph]), 4, constants)
    assert_equal(text, full_text(parse_module(short, constants)), "constants aside change it")
    assert_equal(text, full_text(graph.clone()), "a clone has another text")


def check_values(graph: Graph, inputs: Sequence[Array] | None = None) -> None:
    """Check that arrays have the shapes of their types, and integers stay in their ranges."""
    results, kept = run_all(graph, _inputs(graph, inputs))
    for value, array in results.items():
        assert array.shape[1:] == value.shape, f"{value.owner!r} has shape {array.shape[1:]}"
        if isinstance(value.type, Int):
            assert array.dtype == np.int64, f"{value.owner!r} is {array.dtype}, not int64"
            found = array[kept] if len(array) == len(kept) else array
            outside = found[(found < value.type.lo) | (found > value.type.hi)]
            assert not outside.size, f"{value.owner!r} gives {outside[0]}"
        else:
            assert array.dtype == value.type.dtype, f"{value.owner!r} is {array.dtype}"


def check_samples(graph: Graph, inputs: Sequence[Array] | None = None) -> None:
    """Check that each sample is computed for itself, and that none at all is no problem."""
    inputs = _inputs(graph, inputs)
    run = Interpreter(graph).run
    wanted = run(inputs)
    for index in range(min(2, len(inputs[0]) if inputs else 0)):
        alone = run([array[index : index + 1] for array in inputs])
        same = [array[index : index + 1] for array in wanted]
        noise = tolerance(Exact, Module([graph]))
        assert relative_error(tuple(same), alone) <= noise, "samples are mixed"
    for array, value in zip(run([x[:0] for x in inputs]), graph.outputs, strict=True):
        assert array.shape == (0, *value.shape) or not graph.inputs, "no samples, but results"


def check_decompositions(graph: Graph, inputs: Sequence[Array] | None = None) -> None:
    """Check that operations that decompose compute the same by their decompositions."""
    twin = decomposed(graph)
    if twin is graph:
        return
    inputs = _inputs(graph, inputs)
    _, kept = run_all(graph, inputs)
    for one, other in zip(evaluate(twin, inputs), evaluate(graph, inputs), strict=True):
        np.testing.assert_array_equal(one[kept], other[kept], "the decomposition differs")


def _inputs(graph: Graph, inputs: Sequence[Array] | None) -> Sequence[Array]:
    """Those given; else every input where there are few, or random ones."""
    if inputs is not None:
        return inputs
    every = every_input(graph)
    return samples(graph, SAMPLES) if every is None else every


def assert_equal(wanted: str, found: str, message: str) -> None:
    """AssertionError with a diff unless the texts are equal."""
    if wanted != found:
        lines = (wanted.splitlines(), found.splitlines())
        diff = "\n".join(difflib.unified_diff(*lines, "wanted", "found", lineterm=""))
        raise AssertionError(f"{message}\n{diff}")
