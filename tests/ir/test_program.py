"""Whole modules run as one."""

import numpy as np

from lutra.ir.parser import parse_module
from lutra.ir.program import Program

PARTS = """
graph encode {
  %x = input : float32[2]
  %s = input : float32[]
  %0 = quantize %x, scale=0.5, zero_point=0, lo=0, hi=7
  return %0, names=["q"]
}
graph circuit {
  %q = input : u3[2] in [0, 7]
  %0 = assume %q, lo=0, hi=5
  %1 = neg %0
  return %1, names=["r"]
}
graph decode {
  %s = input : float32[]
  %r = input : i4[2] in [-8, 7]
  %0 = dequantize %r, scale=0.5, zero_point=0, offset=0.0
  %1 = onnx.Mul %0, %s : float32[2]
  return %1
}
"""
X = {"x": np.array([[1, 2], [3, 3.5]], np.float32), "s": np.array([1, 10], np.float32)}


def test_parts_run_one_after_the_other() -> None:
    program = Program(parse_module(PARTS))
    (y,) = program.run(X)
    # -7 leaves what is claimed: modulo 8, decryption takes it for 1
    assert y.tolist() == [[-1, -2], [-30, 5]]
    assert program.violations == 2


def test_a_backend_may_run_the_circuit() -> None:
    (y,) = Program(parse_module(PARTS)).run(X, lambda arrays: [-arrays[0] + 1])
    assert y.tolist() == [[-0.5, -1.5], [-25, -30]]


def test_before_partitioning() -> None:
    text = "%x = input : u2[] in [0, 3]\n%0 = neg %x\nreturn %0"
    (y,) = Program(parse_module(text)).run({"x": np.array([1, 2])})
    assert y.tolist() == [-1, -2]


def test_outputs_that_no_input_reaches() -> None:
    text = """
        graph encode {
          %x = input : float32[2]
          return
        }
        graph circuit {
          %0 = int_constant value=3
          return %0, names=["r"]
        }
        graph decode {
          %r = input : u2[] in [0, 3]
          return %r
        }
    """
    (y,) = Program(parse_module(text)).run({"x": np.zeros((4, 2), np.float32)})
    assert y.tolist() == [3, 3, 3, 3]
