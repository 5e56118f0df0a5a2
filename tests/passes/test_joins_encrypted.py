"""What meets under encryption is what meets in the clear."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from encrypted import Encrypted
from lutra.backends.concrete import emit
from lutra.ir.analysis import pbs_by_bits, pbs_count
from lutra.ir.interpreter import evaluate
from lutra.passes import Context, Pipeline
from lutra.testing.nets import Net

FEW_BITS = "narrow{weights=2,activations=2,inputs=2,method=minmax}"


@pytest.mark.encrypted
def test_values_meet_under_encryption(tmp_path: Path) -> None:
    """Maxima, minima, comparisons, choices and products: one look-up each behind few bits."""
    net = Net(x=(1, 2))
    x, y = (net.add("Relu", net.dense(net.x[0], 2)) for _ in range(2))
    less = net.add("Less", x, y)
    met = [
        net.add("Max", x, y),
        net.add("Min", x, y),
        net.add("Cast", less, to=1),
        net.add("Cast", net.add("Equal", x, y), to=1),
        net.add("Where", less, y, net.clear(np.zeros((1, 2), np.float32))),
    ]
    both = net.add("Reshape", net.add("Concat", *met, axis=1), np.array([1, 5, 2]))
    best = net.add("ReduceMax", both, np.array([2]), keepdims=0)
    module = net.returns(net.dense(best, 2))
    Pipeline.parse(FEW_BITS).execute(module, Context(samples=net.samples(128)))
    circuit = module.circuit
    assert pbs_count(circuit) <= 2 * 2 + 5 * 2 + 5 + 4
    executable = emit(circuit, strategy="precision", p_error=1e-7)
    executable.keygen(cache=tmp_path)
    rng = np.random.default_rng(0)
    port = executable.program.inputs[0]
    sample = rng.integers(port.lo, port.hi + 1, (2, *port.shape))
    for found, wanted in zip(executable.run(sample), evaluate(circuit, [sample]), strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.encrypted
def test_products_of_sums_under_encryption(encrypted: Encrypted) -> None:
    """Squares of sums, of exactly rounded integers."""
    net = Net(x=(1, 3))
    product = net.add("Mul", net.dense(net.x[0], 2), net.dense(net.x[0], 2))
    module = net.returns(net.dense(product, 2))
    road = "wide{weights=2,activations=2,inputs=2,rounding=3,exact=true,method=minmax}"
    Pipeline.parse(road).execute(module, Context(samples=net.samples(128)))
    counts = pbs_by_bits(module.circuit)
    assert counts
    assert max(counts) <= 3
    assert sum(counts.values()) <= 2 * 2
    encrypted.check(str(module.circuit), samples=4)
