"""Every operation of integer circuits, really encrypted, against the interpreter."""

import re

import numpy as np
import pytest

from encrypted import Encrypted
from lutra.backends.concrete.emission import EMISSION
from lutra.ir import ops
from lutra.ir.core import OPS

FLOAT = {ops.Constant, ops.Dequantize, ops.Observe, ops.Onnx, ops.Quantize}


def test_every_integer_op_is_emitted() -> None:
    ours = {kind for kind in OPS.values() if kind.__module__.startswith("lutra.ir.")}
    assert ours - FLOAT == set(EMISSION)


LEVELLED = {
    "identity": "return %x",
    "two outputs": "%0 = neg %x\n return %0, %x, %0",
    "add": "%0 = add %x, %y\n return %0",
    "add scalar": "%0 = add %x, %s\n return %0",
    "add itself": "%0 = add %x, %x\n return %0",
    "sub": "%0 = sub %y, %x\n return %0",
    "sub itself": "%0 = sub %x, %x\n return %0",
    "add_clear": "%0 = add_clear %x, c=[[-9], [100]]\n return %0",
    "add_clear scalar": "%0 = add_clear %s, c=-3\n return %0",
    "mul_clear": "%0 = mul_clear %x, c=[1, -2, 0]\n return %0",
    "mul_clear by 0": "%0 = mul_clear %x, c=0\n return %0",
    "halve": "%0 = mul_clear %x, c=[2, -4, 6]\n%1 = halve %0\n return %1, %0",
    "sum": "%0 = sum %x, axes=[0], keepdims=false\n%1 = sum %x, axes=[1]\n return %0, %1",
    "sum of all": "%0 = sum %x, axes=[0, 1], keepdims=false\n return %0",
    "sum of none": "%0 = sum %x, axes=[]\n return %0",
    "sums of a square": (
        "%0 = sum %q, axes=[1], keepdims=false\n%1 = sum %q, axes=[2], keepdims=false\n"
        "return %0, %1"
    ),
    "matmul": "%0 = matmul %x, w=[[1, -2], [3, 0], [-4, 7]]\n return %0",
    "matmul vector": "%0 = matmul %y, w=[[1, -2], [3, 0], [-4, 7]]\n return %0",
    "matmul batched": "%0 = matmul %q, w=[[[1, -2], [3, 1]]]\n return %0",
    "matmul batches of weights": (
        "%0 = broadcast %q, shape=[2, 2, 2]\n"
        "%1 = matmul %0, w=[[[1, -2], [3, 1]], [[0, 1], [1, 0]]]\n return %1"
    ),
    "reshape": "%0 = reshape %x, shape=[3, 1, 2]\n return %0",
    "reshape to scalar": "%0 = reshape %s, shape=[1, 1]\n%1 = reshape %0, shape=[]\n return %0, %1",
    "transpose": "%0 = transpose %x, perm=[1, 0]\n return %0",
    "transposes of one shape": (
        "%0 = broadcast %q, shape=[2, 2, 2]\n%1 = add_clear %0, c=[[[1]], [[2]]]\n"
        "%2 = transpose %1, perm=[0, 2, 1]\n%3 = transpose %1, perm=[2, 1, 0]\n return %2, %3"
    ),
    "transpose scalar": "%0 = transpose %s, perm=[]\n return %0",
    "slice": "%0 = slice %x, starts=[1, 2], stops=[-3, -4], steps=[-1, -2]\n return %0",
    "slice scalar": "%0 = slice %s, starts=[], stops=[], steps=[]\n return %0",
    "gather": "%0 = gather %x, indices=[[5, 0], [0, 3], [1, 1]]\n return %0",
    "gather scalar": "%0 = gather %x, indices=int64 (4)\n return %0",
    "pad": "%0 = pad %x, before=[0, 1], after=[2, 0], value=-20\n return %0",
    "pad with 0": "%0 = pad %y, before=[1], after=[0]\n return %0",
    "pad by nothing": "%0 = pad %y, before=[0], after=[0], value=9\n return %0",
    "broadcast": "%0 = broadcast %y, shape=[2, 1, 3]\n return %0",
    "broadcast scalar": "%0 = broadcast %s, shape=[2, 2]\n return %0",
    "concat": "%0 = reshape %y, shape=[1, 3]\n%1 = concat %x, %0, %x, axis=0\n return %1",
    "int_constant": "%0 = int_constant value=[[1, -2, 30]]\n%1 = sub %0, %x\n return %1, %0",
    "assume": "%0 = assume %x, lo=-8, hi=[[7], [9]]\n return %0",
}


@pytest.mark.encrypted
@pytest.mark.parametrize("body", LEVELLED.values(), ids=LEVELLED.keys())
def test_levelled(body: str, encrypted: Encrypted) -> None:
    encrypted.check(
        "%x = input : i4[2x3] in [-8, 7]\n"
        "%y = input : u4[3] in [0, 15]\n"
        "%s = input : i3[] in [-4, 2]\n"
        "%q = input : u2[1x2x2] in [0, 3]\n" + body
    )


CONVOLUTIONS = {
    "1-d": "%x = input : u2[2x2x7] in [0, 3]\n%0 = conv %x, w={4 2 3}, strides=[2], dilations=[2]",
    "1-d groups": "%x = input : u2[1x4x5] in [0, 3]\n%0 = conv %x, w={4 2 3}, group=2",
    "2-d": "%x = input : i3[2x2x5x6] in [-4, 3]\n%0 = conv %x, w={3 2 2 3}",
    "2-d depthwise": "%x = input : u2[1x3x5x6] in [0, 3]\n%0 = conv %x, w={6 1 2 3}, group=3",
    "2-d strides and dilations": (
        "%x = input : u2[1x2x6x5] in [0, 3]\n"
        "%0 = conv %x, w={3 2 2 2}, strides=[2, 1], dilations=[1, 3]"
    ),
    "3-d": "%x = input : u2[2x2x3x4x3] in [0, 3]\n%0 = conv %x, w={2 2 2 3 1}",
    "3-d groups, strides, dilations": (
        "%x = input : u2[1x4x6x4x5] in [0, 3]\n"
        "%0 = conv %x, w={2 2 2 3 2}, strides=[3, 1, 2], dilations=[2, 1, 3], group=2"
    ),
}


@pytest.mark.encrypted
@pytest.mark.parametrize("text", CONVOLUTIONS.values(), ids=CONVOLUTIONS.keys())
def test_convolution(text: str, encrypted: Encrypted) -> None:
    """A kernel's shape between braces stands for a random kernel."""
    before, shape, after = re.split("[{}]", text)
    weights = np.random.default_rng(1).integers(-3, 4, [int(n) for n in shape.split()])
    encrypted.check(f"{before}{weights.tolist()}{after}\nreturn %0", samples=1)
