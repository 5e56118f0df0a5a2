"""Float networks keep their meaning on the way to a circuit; tried on random ones."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given

from lutra.ir.core import Module
from lutra.ir.errors import Error
from lutra.ir.interpreter import Interpreter
from lutra.ir.ops import Lookup, Max, Onnx
from lutra.ir.program import Program
from lutra.ir.types import Array, Tensor
from lutra.passes import Context, Pipeline
from lutra.testing.layers import nets
from lutra.testing.nets import Net

LINEAR = """
    Add AveragePool BatchNormalization Concat Conv DepthToSpace Div Expand Flatten Gather Gemm
    GlobalAveragePool Identity MatMul Neg Pad ReduceMean ReduceSum Reshape Slice SpaceToDepth
    Squeeze Sub Sum Tile Transpose Unsqueeze
"""
"""Operators that take no look-up, whatever they read."""
ERRORS = {"V004", "B003"}
"""What a network may be refused for here: linear layers in a row make wide integers."""


def largest(module: Module, feeds: dict[str, Array]) -> float:
    """The largest magnitude of any float value."""
    values = [v for op in module.main.ops for v in op.results if v.type == Tensor(v.shape)]
    return max(float(np.abs(x).max()) for x in Interpreter(module.main, values).run(feeds))


@given(nets())
def test_canonicalize_keeps_outputs(made: tuple[Net, Module]) -> None:
    net, module = made
    feeds = net.samples(3)
    (old,) = Program(module.clone()).run(feeds)
    scale = largest(module, feeds)
    Pipeline.parse("canonicalize").execute(module)
    (new,) = Program(module).run(feeds)
    np.testing.assert_allclose(new, old, rtol=1e-4, atol=1e-5 * scale)


@given(nets())
def test_canonicalize_comes_to_rest(made: tuple[Net, Module]) -> None:
    _, module = made
    Pipeline.parse("canonicalize").execute(module)
    (record,) = Pipeline.parse("canonicalize").execute(module)
    assert not record.changes


def error_of(made: tuple[Net, Module], pipeline: str) -> float:
    """Largest error of the pipeline's result on calibration data, in parts of its range."""
    net, module = made
    feeds = net.samples(40)
    (old,) = Program(module.clone()).run(feeds)
    span = float(np.ptp(old))
    assume(span > 0.03 * largest(module, feeds))  # nothing cancels that quantization must lose
    try:
        Pipeline.parse(pipeline).execute(module, Context(samples=feeds, lookup_bits=20))
    except Error as error:
        assume(error.code not in ERRORS)
        raise
    (new,) = Program(module).run(feeds)
    assert new.shape == old.shape
    return float(np.abs(new - old).max()) / span


@given(nets(dense=True))
def test_integers_follow_floats(made: tuple[Net, Module]) -> None:
    """With 16 bits, all that is lost is the tolerance of integer factors where scales meet."""
    fine = "quantize{weights=16,activations=16,inputs=16}"
    assert error_of(made, f"clean,check-support,calibrate,{fine},lower-quantized") < 0.01


@given(nets(dense=True))
def test_exact_accumulators(made: tuple[Net, Module]) -> None:
    road = "default{weights=8,activations=8,inputs=8,rounding=none,margin=none}"
    assert error_of(made, road) < 0.1


@given(nets(dense=True))
def test_rounded_accumulators(made: tuple[Net, Module]) -> None:
    assert error_of(made, "default{weights=8,rounding=8}") < 0.1


@given(nets(dense=True))
def test_circuits_bootstrap_where_functions_are(made: tuple[Net, Module]) -> None:
    """No look-up without a function or a maximum, and none at all in linear networks."""
    net, module = made
    kinds = {op.op_type for op in module.main.of(Onnx)}
    try:
        Pipeline.parse("clean,default").execute(module, Context(samples=net.samples(8)))
    except Error as error:
        assume(error.code not in ERRORS)
        raise
    bootstraps = [op for op in module.circuit.ops if isinstance(op, Lookup | Max)]
    assert not bootstraps or kinds - {*LINEAR.split()}
