"""What the client does, and what the server does."""

from __future__ import annotations

import numpy as np
import pytest

from lutra.ir.core import Module, Value
from lutra.ir.errors import BackendError, Error, PipelineError
from lutra.ir.interpreter import Interpreter
from lutra.ir.ops import Dequantize, Lookup, MatMul, Onnx, Quantize
from lutra.ir.parser import parse_module
from lutra.ir.program import Program
from lutra.ir.types import Array, Int
from lutra.passes import Context, Pipeline
from lutra.testing.nets import Net


def compiled(net: Net, *outputs: Value, near: float = 0.05) -> Module:
    module = net.returns(*outputs)
    feeds = net.samples(50)
    wanted = Program(module.clone()).run(feeds)
    Pipeline.parse("default{weights=8,rounding=8}").execute(module, Context(samples=feeds))
    for old, new in zip(wanted, Program(module).run(feeds), strict=True):
        assert np.abs(old.astype(float) - new).max() <= near * max(np.ptp(old), 1e-6)
    check_interfaces(module, feeds)
    return module


def check_interfaces(module: Module, feeds: dict[str, Array]) -> None:
    """Integers only in the circuit; names and shapes fit where the graphs meet."""
    encode, circuit, decode = module.encode, module.circuit, module.decode
    assert all(isinstance(v.type, Int) for op in circuit.ops for v in op.results)
    assert not any(isinstance(op, Onnx | Quantize | Dequantize) for op in circuit.ops)
    assert encode.output_names == tuple(node.name for node in circuit.inputs)
    crossing = {node.name: node for node in decode.inputs}
    for name, value in zip(circuit.output_names, circuit.outputs, strict=True):
        assert crossing[name].type.shape == value.shape
    assert set(crossing) <= {*circuit.output_names, *feeds}
    sent = Interpreter(encode).run({node.name: feeds[node.name] for node in encode.inputs})
    for array, node in zip(sent, circuit.inputs, strict=True):
        assert array.min() >= node.type.min  # type: ignore[union-attr]
        assert array.max() <= node.type.max  # type: ignore[union-attr]


def op_types(module: Module, part: str) -> list[str]:
    return [op.op_type for op in module.graphs[part].of(Onnx)]


@pytest.mark.parametrize("tail", ["Softmax", "Sigmoid", "LogSoftmax", "Tanh", "Hardmax"])
def test_the_last_function_is_the_client_s(tail: str) -> None:
    net = Net(x=(1, 4))
    module = compiled(net, net.add(tail, net.dense(net.x[0], 3)), near=2.0)
    assert op_types(module, "decode") == [tail]
    assert not any(module.circuit.of(Lookup))


def test_argmax_is_the_client_s() -> None:
    net = Net(x=(1, 4))
    logits = net.dense(net.x[0], 3)
    module = compiled(net, net.add("ArgMax", logits, axis=1, keepdims=0), logits, near=2.0)
    assert op_types(module, "decode") == ["ArgMax"]
    assert len(module.circuit.outputs) == 1


def test_pooling_behind_the_last_activation_is_the_client_s() -> None:
    net = Net(x=(1, 2, 4, 4))
    x = net.add("Relu", net.conv(net.x[0], 3, (3, 3)))
    module = compiled(net, net.add("GlobalAveragePool", x))
    assert op_types(module, "decode") == ["Relu", "GlobalAveragePool"]
    assert not any(module.circuit.of(Lookup))


def test_maxima_behind_the_last_layer_are_the_client_s() -> None:
    net = Net(x=(1, 2, 4, 4))
    x = net.add("MaxPool", net.conv(net.x[0], 3, (3, 3)), kernel_shape=[2, 2])
    module = compiled(net, net.add("Flatten", x))
    assert "MaxPool" in op_types(module, "decode")
    assert [op.opname for op in module.circuit.ops] == ["input", "conv", "return"]


def test_sums_behind_the_last_layer_are_the_server_s() -> None:
    """They cost nothing, and there is less to decrypt."""
    net = Net(x=(1, 2, 4, 4))
    module = compiled(net, net.add("GlobalAveragePool", net.conv(net.x[0], 3, (3, 3))))
    assert module.circuit.outputs[0].shape == (1, 3, 1, 1)
    assert op_types(module, "decode") == []


def test_repetition_behind_the_last_layer_is_the_client_s() -> None:
    net = Net(x=(1, 4))
    module = compiled(net, net.add("Tile", net.dense(net.x[0], 3), np.array([4, 5])))
    assert module.circuit.outputs[0].shape == (1, 3)


def test_several_inputs_and_outputs() -> None:
    net = Net(image=(1, 2, 4), numbers=(1, 3), unused=(1, 5))
    image, numbers, _ = net.x
    left = net.add("Relu", net.dense(net.add("Flatten", net.conv(image, 2, (2,))), 4))
    right = net.add("Tanh", net.dense(numbers, 4))
    both = net.dense(net.add("Concat", left, right, axis=1), 3)
    module = compiled(net, both, net.add("Softmax", both, axis=1), net.dense(left, 2), near=0.1)
    assert [node.name for node in module.encode.inputs] == ["image", "numbers", "unused"]
    assert module.encode.output_names == ("q0", "q1")
    assert module.circuit.output_names == ("r0", "r1")
    assert module.decode.output_names == ("y0", "y1", "y2")


def test_the_sum_of_two_inputs() -> None:
    net = Net(a=(1, 4), b=(1, 4))
    module = compiled(net, net.dense(net.add("Add", *net.x), 3))
    assert len(module.circuit.inputs) == 2
    assert not any(module.circuit.of(Lookup))


def test_the_client_reads_an_input_twice() -> None:
    net = Net(x=(1, 4))
    module = compiled(net, net.add("Mul", net.dense(net.x[0], 4), net.x[0]))
    assert [node.name for node in module.decode.inputs] == ["r0", "x"]


def test_names_of_inputs_are_not_taken_away() -> None:
    net = Net(r0=(1, 4), q0=(1, 4))
    first, second = net.x
    module = compiled(net, net.add("Mul", net.dense(net.add("Add", first, second), 4), first))
    assert len({node.name for node in module.decode.inputs}) == 2


def test_an_output_that_is_an_input_or_constant() -> None:
    net = Net(x=(1, 4))
    constant = net.clear(np.array([[1.0, 2.0]], np.float32))
    module = compiled(net, net.dense(net.x[0], 3), net.x[0], constant)
    assert [node.name for node in module.decode.inputs] == ["r0", "x"]


def test_a_value_for_the_server_and_the_client() -> None:
    """The activation is returned as floats, and read by a further layer as integers."""
    net = Net(x=(1, 4))
    hidden = net.add("Tanh", net.dense(net.x[0], 4))
    module = compiled(net, net.dense(hidden, 3), hidden)
    assert len(module.circuit.outputs) == 2
    assert sum(1 for _ in module.circuit.of(Lookup)) == 1
    assert not any(op.x.owner is op for op in module.circuit.of(MatMul))


def test_no_weights_nothing_encrypted() -> None:
    net = Net(x=(1, 4))
    module = compiled(net, net.add("Softmax", net.x[0], axis=1))
    assert [op.opname for op in module.circuit.ops] == ["return"]
    assert op_types(module, "decode") == ["Softmax"]


def test_without_calibration() -> None:
    net = Net(x=(1, 4))
    module = net.returns(net.dense(net.x[0], 3))
    with pytest.raises(Error, match=r"C003.*`calibrate` needs calibration data"):
        Pipeline.parse("default").execute(module)


@pytest.mark.parametrize(
    ("samples", "code"),
    [
        ({"x": np.zeros((0, 1, 4), np.float32)}, "C001"),
        ({}, "C001"),
        ({"x": np.full((3, 1, 4), np.nan, np.float32)}, "C002"),
        ({"x": np.zeros((3, 1, 5), np.float32)}, "I001"),
        ({"y": np.zeros((3, 1, 4), np.float32)}, "I004"),
        ({"x": np.zeros((3, 1, 4), np.float32), "y": np.zeros((4, 1, 4))}, "I001"),
    ],
)
def test_bad_calibration_data(samples: dict[str, Array], code: str) -> None:
    net = Net(x=(1, 4))
    module = net.returns(net.dense(net.x[0], 3))
    with pytest.raises(Error, match=code):
        Pipeline.parse("default").execute(module, Context(samples=samples))


ILLEGAL = """
%x = input : float32[1x1]
%0 = quantize %x, scale=1.0, zero_point=0, lo=0, hi=15
%1 = mul_clear %0, c=9
%2 = round %1, lsbs=3
%3 = {op}
%4 = dequantize %3, scale=1.0, zero_point=0, offset=0.0
return %4
"""


@pytest.mark.parametrize(
    ("op", "context", "code", "words"),
    [
        ("add %2, %2", {}, "B002", "read by something else than a look-up"),
        ("max %1, %0", {"lookup_bits": 7}, "B003", "8-bit input"),
        ("mul %1, %1", {"lookup_bits": 7}, "B003", "8-bit input"),
        ("mul_clear %1, c=99", {"value_bits": 13}, "B005", "14 bits"),
    ],
)
def test_illegal_circuits(op: str, context: dict[str, int], code: str, words: str) -> None:
    module = parse_module(ILLEGAL.format(op=op))
    Pipeline.parse("partition").execute(module)
    with pytest.raises(BackendError, match=f"{code}.*{words}") as caught:
        Pipeline.parse("legalize").execute(module, Context(**context))  # type: ignore[arg-type]
    assert caught.value.help


def test_regions_that_no_table_holds() -> None:
    """Each with the node, the IR lines and the way out."""
    head = """
    %x = input : float32[1x4]
    %0 = quantize %x, scale=1.0, zero_point=0, lo=0, hi=15
    %1 = dequantize %0, scale=1.0, zero_point=0, offset=0.0
    """
    tail = """
    %9 = quantize %8, scale=1.0, zero_point=0, lo=0, hi=15
    %10 = dequantize %9, scale=1.0, zero_point=0, offset=0.0
    return %10
    """
    softmax = '%8 = onnx.Softmax %1, axis=1 : float32[1x4]  loc "softmax"'
    mixed = '%8 = onnx.Mul %1, %x : float32[1x4]  loc "gate"'
    for middle, words in ((softmax, "not elementwise"), (mixed, "")):
        with pytest.raises(PipelineError, match=f"P005.*{words}") as caught:
            Pipeline.parse("fuse").execute(parse_module(head + middle + tail))
        assert caught.value.lines
        assert caught.value.help


def test_the_circuits_inputs_are_in_the_models_order() -> None:
    """Whatever is computed first."""
    net = Net(first=(1, 3), second=(1, 2))
    first, second = net.x
    of_second = net.add("Relu", net.dense(second, 4))
    module = compiled(net, net.dense(net.add("Add", of_second, net.dense(first, 4)), 2), near=0.1)
    assert [value.shape for value in module.encode.outputs] == [(1, 3), (1, 2)]
