"""Levelled operations: ranges per element, what they refuse."""

import numpy as np
import pytest

from lutra.ir.errors import TextError
from lutra.ir.interpreter import evaluate
from lutra.ir.ops import Conv, MatMul, Sum
from lutra.ir.parser import parse_graph
from lutra.ir.types import Int


def test_ranges_come_from_the_weights() -> None:
    graph = parse_graph("""
        %x = input : u4[1x2] in [0, 15]
        %0 = matmul %x, w=[[3, -2, 0], [1, -4, 0]]
        return %0
    """)
    assert graph.outputs[0].type == Int.of((1, 3), [0, -90, 0], [60, 0, 0])


def test_ranges_of_convolutions_are_kept_per_channel() -> None:
    graph = parse_graph("""
        %x = input : i3[1x2x9x9] in [-3, 3]
        %0 = conv %x, w=[[[[1, 2]], [[0, 0]]], [[[0, 0]], [[-5, 1]]]], strides=[2, 3]
        return %0
    """)
    kind = graph.outputs[0].int_type
    assert kind.lo.shape == (1, 2, 1, 1)
    assert kind == Int.of((1, 2, 5, 3), [[[-9]], [[-18]]], [[[9]], [[18]]])


def test_ranges_at_borders_differ_behind_padding() -> None:
    """Where elements have ranges of their own, every position is looked at."""
    graph = parse_graph("""
        %x = input : u2[1x1x4] in [0, 3]
        %0 = assume %x, lo=0, hi=[[[3, 3, 3, 2]]]
        %1 = pad %0, before=[0, 0, 1], after=[0, 0, 0]
        %2 = conv %1, w=[[[1, 1]]]
        return %2
    """)
    assert graph.outputs[0].int_type.hi.tolist() == [[[3, 6, 6, 5]]]


def test_halves_round_down() -> None:
    graph = parse_graph("""
        %x = input : i4[1x2] in [-7, 4]
        %0 = halve %x
        return %0
    """)
    assert graph.outputs[0].type == Int.of((1, 2), -4, 2)
    x = np.arange(-7, 5).reshape(-1, 1, 1)
    np.testing.assert_array_equal(evaluate(graph, [np.tile(x, 2)])[0], np.tile(x // 2, 2))


def test_batched_matmul() -> None:
    rng = np.random.default_rng(0)
    graph = parse_graph("""
        %x = input : i4[2x1x3] in [-8, 7]
        %0 = matmul %x, w=[[[1], [2], [3]], [[4], [5], [6]]]
        return %0
    """)
    x = rng.integers(-8, 8, (5, 2, 1, 3))
    w = np.arange(1, 7).reshape(2, 3, 1)
    np.testing.assert_array_equal(evaluate(graph, [x])[0], x @ w)


def test_operands_of_different_rank() -> None:
    graph = parse_graph("""
        %x = input : u4[2x3] in [0, 15]
        %y = input : u4[3] in [0, 15]
        %0 = add %x, %y
        %1 = sub %y, %x
        return %0, %1
    """)
    x, y = np.arange(18).reshape(3, 2, 3) % 16, np.arange(9).reshape(3, 3)
    total, difference = evaluate(graph, [x, y])
    np.testing.assert_array_equal(total, x + y[:, None])
    np.testing.assert_array_equal(difference, y[:, None] - x)


def test_conv_defaults() -> None:
    x = parse_graph("%x = input : u1[1x1x2x2] in [0, 1]\nreturn %x").outputs[0]
    conv = Conv(x, np.ones((1, 1, 2, 1)))
    assert (conv.strides, conv.dilations, conv.group) == ((1, 1), (1, 1), 1)
    assert conv.extent == (2, 1)
    assert conv.w.dtype == np.int64


def test_weights_are_frozen() -> None:
    x = parse_graph("%x = input : u1[2] in [0, 1]\nreturn %x").outputs[0]
    w = np.eye(2, dtype=np.int64)
    op = MatMul(x, w)
    w[:] = 9
    assert op.w.tolist() == [[1, 0], [0, 1]]


def test_sum_may_drop_axes() -> None:
    x = parse_graph("%x = input : u1[2x3] in [0, 1]\nreturn %x").outputs[0]
    assert Sum(x, (0, 1), keepdims=False).result.type == Int.of((), 0, 6)
    assert Sum(x, (1,)).result.type == Int.of((2, 1), 0, 3)
    assert Sum(x, ()).result.type == x.type


@pytest.mark.parametrize(
    ("shape", "line", "message"),
    [
        ("2", "matmul %x, w=[[1]]", "x (2,) cannot be multiplied by w (1, 1)"),
        ("2", "matmul %x, w=[1, 2]", "x (2,) cannot be multiplied by w (2,)"),
        ("2", "matmul %x, w=[[[1], [2]]]", "x (2,) cannot be multiplied by w (1, 2, 1)"),
        ("3x1x2", "matmul %x, w=[[[1], [2]], [[1], [2]]]", "(3,) and (2,) do not broadcast"),
        ("", "matmul %x, w=[[1]]", "x () cannot be multiplied by w (1, 1)"),
        ("1x2x3", "conv %x, w=[[[[1]]]]", "need the same number of axes"),
        ("1x2", "conv %x, w=[[1]]", "need the same number of axes, 3 to 5"),
        ("1x2x3", "conv %x, w=[[[1]]]", "x (1, 2, 3) and w (1, 1, 1) do not fit with group=1"),
        ("1x2x3", "conv %x, w=[[[1]]], group=2", "do not fit with group=2"),
        ("1x1x3", "conv %x, w=[[[1]]], group=0", "strides, dilations and group are 1 or more"),
        ("1x1x3", "conv %x, w=[[[1]]], strides=[0]", "are 1 or more"),
        ("1x1x3", "conv %x, w=[[[1]]], strides=[1, 1]", "one number for each spatial axis"),
        ("1x1x3", "conv %x, w=[[[1, 1]]], dilations=[3]", "the kernel (4,) is larger than"),
        ("2", "add_clear %x, c=[1, 2, 3]", "c (3,) does not broadcast to x (2,)"),
        ("2", "add_clear %x, c=[[1], [2]]", "c (2, 1) does not broadcast to x (2,)"),
        ("2", "mul_clear %x, c=[1, 2, 3]", "c (3,) does not broadcast to x (2,)"),
        ("2", "sum %x, axes=[-1]", "axes (-1,) are not axes of x (2,), each named once"),
        ("2", "sum %x, axes=[0, 0]", "each named once"),
        ("2", "mul_clear %x, c=4611686018427387903", "a value reaches"),
    ],
)
def test_refusals(shape: str, line: str, message: str) -> None:
    with pytest.raises(TextError) as error:
        parse_graph(f"%x = input : u2[{shape}] in [0, 3]\n%0 = {line}\nreturn %0")
    assert message in error.value.message


def test_shapes_that_do_not_broadcast() -> None:
    text = "%x = input : u2[2] in [0, 3]\n%y = input : u2[3] in [0, 3]\n%0 = {} %x, %y\nreturn %0"
    for name in ("add", "sub"):
        with pytest.raises(TextError, match=r"shapes \(2,\) and \(3,\) do not broadcast"):
            parse_graph(text.format(name))
