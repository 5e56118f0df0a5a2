"""Bits by role and by layer."""

from __future__ import annotations

import pytest

from lutra.ir.core import Module
from lutra.ir.errors import PipelineError
from lutra.ir.ops import IntConstant, Lookup, Quantize, Round
from lutra.passes import Context, Pipeline
from lutra.passes.bits import bits_for, check_bits, highest
from lutra.testing.nets import Net


@pytest.mark.parametrize(
    ("bits", "names", "expected"),
    [
        (4, [], 4),
        (4, ["/conv1/Conv"], 4),
        ((("/conv1/*", 8), ("*", 4)), ["/conv1/Conv"], 8),
        ((("/conv1/*", 8), ("*", 4)), ["/conv2/Conv"], 4),
        ((("/conv1/*", 8), ("*", 4)), [], 4),
        ((("*", 4), ("/conv1/*", 8)), ["/conv1/Conv"], 4),
        ((("bn", 3), ("conv", 5)), ["conv", "bn"], 3),
        ((("/Conv", 3), ("/conv", 5)), ["/conv"], 5),
        ((("fc[12]", 3), ("fc?", 5)), ["fc3"], 5),
    ],
)
def test_the_first_pattern_that_matches_decides(
    bits: int | tuple[tuple[str, int], ...], names: list[str], expected: int
) -> None:
    assert bits_for(bits, names, "weights") == expected


def test_a_layer_without_bits() -> None:
    with pytest.raises(PipelineError, match=r"P002(?s:.*)fc2(?s:.*)add a default") as caught:
        bits_for((("fc1", 4),), ["fc2"], "weights")
    assert caught.value.nodes == ("fc2",)


def test_limits() -> None:
    check_bits((("a", 1), ("b", 16)), "weights")
    for bits in (0, 17, (("a", 4), ("b", 17)), (("a", "4"),), True):
        with pytest.raises(PipelineError, match=r"P002.*`weights` is .*, not within 1 to 16"):
            check_bits(bits, "weights")  # type: ignore[arg-type]
    assert highest(5) == highest((("a", 5), ("*", 2))) == 5


@pytest.mark.parametrize("preset", ["wide", "narrow", "default", "qat"])
@pytest.mark.parametrize("bits", ["99", '{"a"=4,"*"=99}'])
def test_presets_name_their_own_options(preset: str, bits: str) -> None:
    for option in ("weights", "activations", "inputs"):
        with pytest.raises(PipelineError, match=f"P002.*`{option}` is 99, not within"):
            Pipeline.parse(f"{preset}{{{option}={bits}}}")


def three_layers() -> tuple[Net, Module]:
    """Gemm/1, Relu/2, Gemm/3, Relu/4, Gemm/5."""
    net = Net(x=(1, 6))
    (x,) = net.x
    for columns in (5, 4):
        x = net.add("Relu", net.dense(x, columns))
    return net, net.returns(net.dense(x, 3))


def quantized(pipeline: str) -> Module:
    net, module = three_layers()
    Pipeline.parse(pipeline).execute(module, Context(samples=net.samples(200)))
    return module


def test_roles_of_quantize() -> None:
    main = quantized("clean,calibrate,quantize{weights=3,activations=5,inputs=7}").main
    assert [op.result.int_type.bits for op in main.of(Quantize)] == [7, 5, 5]
    assert [op.result.int_type.bits for op in main.of(IntConstant)] == [3, 3, 3]


def test_layers_of_quantize() -> None:
    weights = 'weights={"Gemm/1"=2,"Gemm/5"=8,"*"=4}'
    activations = 'activations={"Relu/2"=3,"*"=6}'
    main = quantized(f"clean,calibrate,quantize{{{weights},{activations}}}").main
    assert [op.result.int_type.bits for op in main.of(Quantize)] == [8, 3, 6]
    assert [op.result.int_type.bits for op in main.of(IntConstant)] == [2, 4, 8]


def test_a_folded_layer_is_known_by_all_its_names() -> None:
    """A normalisation goes into the layer before it; either name gives the bits."""
    for name in ("Conv/1", "BatchNormalization/2"):
        net = Net(x=(1, 2, 4))
        y = net.batch_norm(net.conv(net.x[0], 2, (1,)))
        module = net.returns(net.dense(net.add("Flatten", y), 2))
        text = f'clean,calibrate,quantize{{weights={{"{name}"=3,"*"=8}}}}'
        Pipeline.parse(text).execute(module, Context(samples=net.samples(20)))
        assert [op.result.int_type.bits for op in module.main.of(IntConstant)] == [3, 8]


def test_layers_of_round() -> None:
    circuit = quantized('default{rounding={"*/1"=3,"*"=5}}').circuit
    assert [op.result.int_type.bits for op in circuit.of(Round)] == [3, 5]
    assert [op.entries for op in circuit.of(Lookup)] == [8, 32]


def test_layers_of_the_default_pipeline() -> None:
    text = 'default{activations={"Relu/4"=3,"*"=7},inputs=6,rounding=none,margin=none,weights=4}'
    module = quantized(text)
    assert [op.result.int_type.bits for op in module.circuit.of(Lookup)] == [7, 3]
    assert [node.type.bits for node in module.circuit.inputs] == [6]  # type: ignore[union-attr]


def test_an_unknown_layer_is_an_error() -> None:
    with pytest.raises(PipelineError, match=r"P002.*gives no bits to this layer"):
        quantized('clean,calibrate,quantize{weights={"Gemm/1"=2}}')


@pytest.mark.parametrize(
    "pipeline",
    [
        'wide{weights={"Gem*/3x"=4,"*"=6}}',
        'default{weights={"Gem*/3x"=4,"*"=6}}',
        '(clean,narrow{activations={"Gem*/3x"=4,"*"=6}})',
        'clean,calibrate,quantize{weights={"Gem*/3x"=4,"*"=6}}',
    ],
)
def test_patterns_that_match_no_layer(pipeline: str) -> None:
    with pytest.raises(PipelineError) as caught:
        quantized(pipeline)
    assert caught.value.code == "P002"
    assert "no layer matches 'Gem*/3x'" in caught.value.message
    assert "weights" in caught.value.message or "activations" in caught.value.message
    assert caught.value.help == "did you mean 'Gemm/3'?"


def test_layers_without_bits_are_named_with_the_option_that_was_written() -> None:
    with pytest.raises(PipelineError, match="option `weights` gives no bits") as caught:
        quantized('wide{weights={"Gemm/1"=4},rounding=6}')
    assert caught.value.help == 'add a default: weights={..., "*"=8}'
    with pytest.raises(PipelineError, match="option `bits` gives no bits"):
        quantized('clean,calibrate{method=mse,bits={"Gemm/1"=4}}')


def test_single_layers_are_rounded_exactly() -> None:
    net = Net(x=(1, 6))
    hidden = net.add("Relu", net.dense(net.x[0], 5))
    module = net.returns(net.dense(net.add("Relu", net.dense(hidden, 4)), 3))
    layers = [op.loc[0] for op in module.main.ops if op.loc and op.loc[0].startswith("Gemm")]
    text = f'wide{{split=none,exact={{"{layers[0]}"=true}}}}'
    Pipeline.parse(text).execute(module, Context(samples=net.samples(64)))
    assert [op.exact for op in module.circuit.of(Round)] == [True, False]
    for wrong in ('{"*"=3}', "7"):
        with pytest.raises(PipelineError, match="P002"):
            Pipeline.parse(f"round{{exact={wrong}}}")
    with pytest.raises(PipelineError, match="no layer matches"):
        Pipeline.parse('round{exact={"nowhere"=true}}').execute(module, Context())
