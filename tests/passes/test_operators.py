"""Every operator between two layers: calibrated, quantized, fused, the same on all backends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lutra.backends.concrete import emit
from lutra.ir.interpreter import evaluate
from lutra.ir.ops import Lookup
from lutra.ir.program import Program
from lutra.ir.traits import TRAITS, Trait
from lutra.passes import Context, Pipeline
from lutra.testing.backends import check_backends
from lutra.testing.nets import Net
from operator_cases import CASES, NAMES_ONLY, net_of

SIX_BITS = "narrow{weights=6,activations=6,inputs=6}"
ERROR = 0.03
"""Largest mean error, relative to the reach of the results."""
STEEP = {
    **dict.fromkeys(("ArgMax", "ArgMin", "Cast", "Ceil", "Equal", "Floor"), 0.06),
    "ReduceLogSumExp": 0.06,
    **dict.fromkeys(("IsInf", "IsNaN"), 0.1),
}
"""The same for functions with jumps, which many values lie near to, and of a large reach."""


def test_every_operator_has_a_case() -> None:
    assert CASES.keys() == TRAITS.keys() - NAMES_ONLY


@pytest.mark.parametrize("kind", sorted(CASES))
def test_operator(kind: str) -> None:
    net, module = net_of(kind)
    other = net.samples(64, seed=2)
    (wanted,) = Program(module.clone()).run(other)
    Pipeline.parse(SIX_BITS).execute(module, Context(samples=net.samples(128), lookup_bits=24))
    (found,) = Program(module).run(other)
    assert np.abs(found - wanted).mean() < STEEP.get(kind, ERROR) * np.ptp(wanted)
    look_ups = sum(1 for _ in module.circuit.of(Lookup))
    assert look_ups or TRAITS[kind] is not Trait.ELEMENTWISE or kind in LEVELLED
    check_backends(module, count=4)


LEVELLED = {"Add", "Div", "Mean", "Mul", "Neg", "Sub", "Sum"}
"""Functions that become integer arithmetic."""


FEW_BITS = "narrow{weights=2,activations=2,inputs=2,method=minmax}"


@pytest.mark.encrypted
def test_each_family_under_encryption(tmp_path: Path) -> None:
    net = Net(x=(1, 2))
    x = net.add("Reshape", net.dense(net.x[0], 4), np.array([1, 1, 2, 2]))
    positive = net.add("Relu", x)
    found = [
        net.add("Sigmoid", x),
        net.add("Tanh", net.add("ConvTranspose", positive, net.weights(1, 1, 2, 2))),
        net.add("Slice", positive, np.array([1]), np.array([-9]), np.array([3]), np.array([-1])),
        net.add("GlobalMaxPool", positive),
        net.add("Relu", net.add("MatMul", positive, net.add("Sigmoid", x))),
    ]
    flat = [net.add("Reshape", y, np.array([1, -1])) for y in found]
    module = net.returns(net.dense(net.add("Concat", *flat, axis=1), 2))
    Pipeline.parse(FEW_BITS).execute(module, Context(samples=net.samples(128)))
    executable = emit(module.circuit, strategy="precision", p_error=1e-7)
    executable.keygen(cache=tmp_path)
    port = executable.program.inputs[0]
    sample = np.random.default_rng(0).integers(port.lo, port.hi + 1, (2, *port.shape))
    wanted = evaluate(module.circuit, [sample])
    for one, other in zip(executable.run(sample), wanted, strict=True):
        np.testing.assert_array_equal(one, other)
