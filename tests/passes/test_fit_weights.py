"""Integer weights of whole networks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lutra.ir.analysis import look_ups
from lutra.ir.core import Graph, Module, Value
from lutra.ir.errors import PipelineError
from lutra.ir.interpreter import Interpreter
from lutra.ir.ops import Add, Conv, Dequantize, Lookup, MatMul, MulClear
from lutra.ir.program import Program
from lutra.ir.types import Array, Int
from lutra.passes import Context, Pipeline
from lutra.passes.fit_weights import FitWeights
from lutra.passes.layers import totals
from lutra.testing.nets import Net

Body = Callable[[Net, Value], Value]


def relu_conv(net: Net, x: Value, channels: int = 4, group: int = 1) -> Value:
    return net.add("Relu", net.conv(x, channels, (3, 3), group, pads=[1, 1, 1, 1]))


def conv(net: Net, x: Value, channels: int = 4) -> Value:
    return net.conv(x, channels, (3, 3), pads=[1, 1, 1, 1])


def plain(net: Net, x: Value) -> Value:
    return relu_conv(net, x, group=2)


def residual(net: Net, x: Value) -> Value:
    return net.add("Relu", net.add("Add", x, conv(net, relu_conv(net, x))))


def difference(net: Net, x: Value) -> Value:
    return net.add("Relu", net.add("Sub", conv(net, relu_conv(net, x)), x))


def projection(net: Net, x: Value) -> Value:
    return net.add("Relu", net.add("Add", net.conv(x, 4, (1, 1)), conv(net, relu_conv(net, x))))


def stream(net: Net, x: Value) -> Value:
    """Accumulators that are read by an activation and added to others."""
    s = conv(net, x)
    s = net.add("Add", s, conv(net, net.add("Relu", s)))
    return net.add("Relu", net.add("Add", s, conv(net, net.add("Relu", s))))


def bottleneck(net: Net, x: Value) -> Value:
    """Two layers in a row."""
    return net.add("Relu", net.conv(net.conv(x, 2, (1, 1)), 4, (1, 1)))


def moved(net: Net, x: Value) -> Value:
    y = net.add("Transpose", conv(net, x), perm=[0, 2, 3, 1])
    return net.add("Transpose", net.add("Relu", y), perm=[0, 3, 1, 2])


BODIES: list[Body] = [plain, residual, difference, projection, stream, bottleneck, moved]


def network(body: Body, seed: int = 0) -> tuple[Net, Module]:
    net = Net(seed, x=(1, 2, 5, 5))
    y = body(net, relu_conv(net, net.x[0]))
    y = net.dense(net.add("Flatten", y), 3)
    return net, net.returns(y)


def fitted(
    body: Body, options: str, bits: int = 4, seed: int = 0, start: str = "weights=16"
) -> tuple[Net, Module]:
    """The network after `fit-weights`."""
    net, module = network(body, seed)
    text = (
        f"clean,calibrate{{method=mse,bits={bits},inputs={bits}}},"
        f"quantize{{{start},activations={bits},inputs={bits}}},lower-quantized,"
        f"fit-weights{{{options}}}"
    )
    Pipeline.parse(text).execute(module, Context(samples=net.samples(100)))
    return net, module


def weights(graph: Graph) -> list[Array]:
    return [op.w for op in graph.ops if isinstance(op, MatMul | Conv)]


def error(net: Net, module: Module, body: Body, seed: int = 0) -> float:
    """Root mean square error on unseen samples, relative to the outputs' variation."""
    feeds = net.samples(200, seed=7)
    _, floats = network(body, seed)
    (wanted,), (found,) = Program(floats).run(feeds), Program(module).run(feeds)
    return float(np.sqrt(np.square(wanted - found).mean() / wanted.var(0).mean()))


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize(("options", "bits"), [("bits=8", 8), ("bits=6,rounding=none", 8)])
def test_floats_are_kept(body: Body, options: str, bits: int) -> None:
    assert error(*fitted(body, options, bits), body) < 0.08


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("symmetric", ["true", "false"])
def test_weights_have_the_bits_asked_for(body: Body, symmetric: str) -> None:
    _, module = fitted(body, f"bits=3,rounding=none,symmetric={symmetric}")
    for w in weights(module.main):
        channels = w.reshape(len(w), -1) if w.ndim > 2 else w.T
        assert np.ptp(np.append(channels, np.zeros((len(channels), 1)), 1), axis=1).max() <= 7
        assert np.abs(w).max() <= (3 if symmetric == "true" else 7)


@pytest.mark.parametrize("body", BODIES)
def test_each_activation_costs_one_look_up(body: Body) -> None:
    net, module = network(body)
    activations = sum(op.opname == "onnx" and "Relu" in repr(op) for op in module.main.ops)
    text = "default{weights=4,activations=4,inputs=4,rounding=none}"
    Pipeline.parse(text).execute(module, Context(samples=net.samples(100)))
    look_ups = list(module.circuit.of(Lookup))
    assert len(look_ups) == activations
    assert max(op.x.int_type.bits for op in look_ups) <= 13
    assert error(net, module, body) < 0.5


def test_a_residual_value_is_added_as_it_is_or_as_its_multiple() -> None:
    _, module = fitted(residual, "bits=4,rounding=none")
    (total,) = (value for value in totals(module.main) if isinstance(value.owner, Add))
    add = total.owner
    assert isinstance(add, Add)
    multiple = add.y.owner
    assert isinstance(multiple, MulClear)
    assert isinstance(add.x.owner, Conv)
    assert multiple.c.min() >= 1
    assert total.int_type.bits <= 12


def test_scales_by_channel_or_for_the_whole_layer() -> None:
    for text, uniform in (("true", False), ("false", True)):
        for road in ("rounding=none", "rounding=5"):
            _, module = fitted(
                plain,
                f"bits=4,{road},per_channel={text}",
                start=f"weights=16,per_channel={text}",
            )
            sinks = [op for op in module.main.of(Dequantize) if op.scale.size > 1]
            assert bool(sinks) != uniform


@pytest.mark.parametrize("body", [plain, residual, bottleneck])
def test_techniques_help(body: Body) -> None:
    seeds = range(2)

    def errors(options: str) -> float:
        found = [error(*fitted(body, options, 3, seed), body, seed) for seed in seeds]
        return float(np.mean(found))

    best = errors("bits=3,rounding=none")
    for off in ("compensate", "search", "correct_bias", "float_target"):
        assert best < 1.15 * errors(f"bits=3,rounding=none,{off}=false"), off
    assert best < 0.9 * errors(
        "bits=3,rounding=none,compensate=false,search=false,correct_bias=false,float_target=false"
    )


# --- accumulators -------------------------------------------------------------------------------
@settings(max_examples=15)
@given(
    st.sampled_from(BODIES),
    st.integers(0, 99),
    st.integers(7, 11),
    st.integers(2, 4),
    st.sampled_from(["weights=16", "weights=16,signed=true"]),
)
def test_accumulators_are_guaranteed_to_fit(
    body: Body, seed: int, width: int, bits: int, start: str
) -> None:
    try:
        _, module = fitted(body, f"bits=4,rounding=none,accumulator={width}", bits, seed, start)
    except PipelineError as refused:
        if width < 10 and "leaves no room" in refused.message:
            return  # what is added needs it
        raise
    for total in totals(module.main):
        assert -(2 ** (width - 1)) <= total.int_type.min
        assert total.int_type.max < 2 ** (width - 1)


def test_accumulator_of_the_default_pipeline() -> None:
    net, module = network(residual)
    text = "default{weights=4,activations=4,inputs=4,rounding=none,accumulator=10,margin=none}"
    Pipeline.parse(text).execute(module, Context(samples=net.samples(100)))
    for op in module.circuit.ops:
        assert all(value.int_type.bits <= 10 for value in op.results)
    assert error(net, module, residual) < 0.5


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("width", [6, 10])
def test_accumulators_fit_on_calibration_data(body: Body, width: int) -> None:
    net, module = network(body)
    samples = net.samples(200)
    text = f"narrow{{accumulator={width},guaranteed=false}}"
    try:
        Pipeline.parse(text).execute(module, Context(samples=samples))
    except PipelineError as refused:
        if width == 6 and "leaves no room" in refused.message:
            return  # what is added needs it
        raise
    read = [value for site in look_ups(module.circuit) for value in site.op.operands]
    assert all(value.int_type.bits <= width for value in read)
    results = Interpreter(module.circuit).run(Interpreter(module.encode).run(samples))
    assert all(Int.of((), a.min(), a.max()).bits <= width for a in results)


def test_options_that_do_not_go_together() -> None:
    with pytest.raises(PipelineError, match=r"P002(?s:.*)add `rounding=none`"):
        FitWeights(accumulator=8)
    with pytest.raises(PipelineError, match=r"P002.*`accumulator` is 1"):
        FitWeights(accumulator=1, rounding=None)
    with pytest.raises(PipelineError, match=r"P002.*leaves no room for weights"):
        fitted(residual, "bits=4,rounding=none,accumulator=3")
