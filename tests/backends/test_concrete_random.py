"""Random circuits under encryption, against the interpreter."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings

from encrypted import Encrypted
from lutra.backends.concrete import emit
from lutra.ir.core import Graph
from lutra.ir.interpreter import Interpreter
from lutra.ir.ops import Lookup, Max, Mul, Round
from lutra.ir.samples import samples
from lutra.testing.graphs import INTEGER_OPS, integer_graphs

pytestmark = pytest.mark.encrypted

BOOTSTRAPPING = ("lookup", "max", "mul")
LEVELLED = tuple(kind for kind in INTEGER_OPS if kind not in BOOTSTRAPPING)


def affordable(graph: Graph) -> bool:
    """Few bits at every bootstrap, and no result that may be off by one."""
    return all(
        (not isinstance(op, Lookup) or op.entries <= 16)
        and (not isinstance(op, Round) or (op.exact and op.lsbs < 3))
        and (not isinstance(op, Max) or op.difference().bits <= 5)
        and (not isinstance(op, Mul) or max(v.int_type.bits for v in op.operands) <= 3)
        for op in graph.ops
    )


def check(graph: Graph, keys: Path) -> None:
    """Only samples that no `assume` excludes: outputs are decoded within their range."""
    executable = emit(graph, strategy="precision", p_error=1e-7)
    if executable.costs.bootstraps:
        executable.keygen(cache=keys)
    for index in range(2):
        inputs = [array[index : index + 1] for array in samples(graph, 2)]
        interpreter = Interpreter(graph)
        expected = interpreter.run(inputs)
        if not any(interpreter.violations.values()):
            for result, reference in zip(executable.run(*inputs), expected, strict=True):
                np.testing.assert_array_equal(result, reference)


@settings(max_examples=40)
@given(graph=integer_graphs(most=6, kinds=LEVELLED))
def test_levelled_circuits(graph: Graph, encrypted: Encrypted) -> None:
    check(graph, encrypted.keys)


@settings(max_examples=10, suppress_health_check=[HealthCheck.filter_too_much])
@given(graph=integer_graphs(most=5, kinds=(*LEVELLED, *BOOTSTRAPPING * 3), reach=3))
def test_circuits_with_bootstraps(graph: Graph, encrypted: Encrypted) -> None:
    assume(affordable(graph) and any(isinstance(op, Lookup | Max | Mul) for op in graph.ops))
    check(graph, encrypted.keys)
