"""Functions that linear ones stand in for."""

from __future__ import annotations

import numpy as np
import pytest

from lutra.ir.analysis import look_ups
from lutra.ir.core import Module
from lutra.ir.ops import Onnx
from lutra.ir.program import Program
from lutra.passes import Context, Pipeline
from lutra.passes.cheapest import error_of
from lutra.testing.nets import Net


def pruned(net: Net, module: Module, error: float) -> tuple[int, float]:
    """Elements that keep their function, and the error of the results on other samples."""
    Pipeline.parse("clean").execute(module, Context())
    wanted = Program(module.clone()).run(net.samples(500, seed=2))
    Pipeline.parse(f"prune{{error={error}}},clean").execute(
        module, Context(samples=net.samples(1000))
    )
    return functions(module), error_of(Program(module).run(net.samples(500, seed=2)), wanted)


def functions(module: Module) -> int:
    ops = [op for op in module.main.ops if isinstance(op, Onnx) and op.op_type in FUNCTIONS]
    return sum(int(np.prod(op.result.shape)) for op in ops)


FUNCTIONS = ("Relu", "Sigmoid", "HardSwish")


def dense(function: str, seed: int = 0) -> tuple[Net, Module]:
    net = Net(seed, x=(1, 6))
    x = net.add(function, net.dense(net.x[0], 20))
    x = net.add(function, net.dense(x, 16))
    return net, net.returns(net.dense(x, 3))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_dense_layers(function: str) -> None:
    net, module = dense(function)
    left, error = pruned(net, module, 0.1)
    assert 0 < left < 36
    assert error < 0.2  # two layers, on samples that are not those of calibration


def test_more_error_leaves_fewer() -> None:
    counts = [pruned(*dense("Relu"), error)[0] for error in (0.01, 0.05, 0.2, 0.5)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1]


def test_convolutions() -> None:
    net = Net(3, x=(1, 2, 6, 6))
    x = net.add("Relu", net.batch_norm(net.conv(net.x[0], 3, (3, 3))))
    x = net.add("Relu", net.conv(x, 4, (3, 3), strides=[2, 2]))
    module = net.returns(net.dense(net.add("Flatten", x), 3))
    left, error = pruned(net, module, 0.1)
    # of 4 x 4 positions the second layer reads 3 x 3
    assert left < 27 + 4
    assert error < 0.2


def test_what_several_layers_read() -> None:
    net = Net(4, x=(1, 6))
    x = net.add("Relu", net.dense(net.x[0], 20))
    module = net.returns(net.dense(x, 3), net.dense(x, 2))
    left, error = pruned(net, module, 0.1)
    assert left < 20
    assert error < 0.2


def test_other_readers_keep_all_elements() -> None:
    net = Net(5, x=(1, 2, 4, 4))
    x = net.add("Relu", net.conv(net.x[0], 3, (3, 3)))
    pooled = net.add("MaxPool", x, kernel_shape=[2, 2])
    module = net.returns(net.dense(net.add("Flatten", pooled), 2))
    assert pruned(net, module, 0.3) == (12, 0.0)


def test_results_that_are_read_keep_all_elements() -> None:
    net = Net(6, x=(1, 6))
    x = net.add("Relu", net.dense(net.x[0], 20))
    module = net.returns(net.dense(x, 3), x)
    assert pruned(net, module, 0.3) == (20, 0.0)


def test_functions_that_never_leave_their_straight_part() -> None:
    net = Net(7, x=(1, 4))
    x = net.add("Relu", net.add("Add", net.dense(net.x[0], 9), np.float32(100)))
    assert pruned(net, net.returns(net.dense(x, 2)), 0.01)[0] == 0


def test_circuits_have_fewer_look_ups() -> None:
    counts = []
    for option in ("", ",prune=0.1"):
        net, module = dense("Relu")
        pipeline = Pipeline.parse(f"wide{{rounding=6{option}}}")
        wanted = Program(module.clone()).run(net.samples(200, seed=2))
        pipeline.execute(module, Context(samples=net.samples(1000)))
        counts.append(module.circuit)
        assert error_of(Program(module).run(net.samples(200, seed=2)), wanted) < 0.25
    before, after = (sum(site.count for site in look_ups(circuit)) for circuit in counts)
    assert after < before
