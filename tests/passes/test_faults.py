"""A fault in a copy of a pass is caught by `Validate`, and `bisect` names the pass and the rule.

A copy is made of the pass's own source, with one place changed.
"""

from __future__ import annotations

import importlib
import inspect
import math
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from lutra.ir.core import OPS, Graph, Module, Op, Value, op
from lutra.ir.errors import PipelineError
from lutra.ir.ops import Assume, Lookup, Neg, Onnx
from lutra.ir.parser import parse_module
from lutra.ir.rewriter import Rewriter
from lutra.ir.types import Array, Int
from lutra.passes import Context, Contract, Exact, Pass, Pipeline, registry
from lutra.passes.bisect import bisect, same_outputs
from lutra.passes.check_support import CheckSupport
from lutra.passes.pipeline import is_one
from lutra.passes.presets import Clean
from lutra.passes.validate import Validate, relative_error

# --- what the passes run on -----------------------------------------------------------------------
INTEGERS = """
%x = input : u2[1x2] in [0, 3]
%0 = matmul %x, w=[[3, -2], [1, -4]]  loc "fc"
%1 = mul_clear %0, c=[[2, 1]]  loc "scale"
%2 = add_clear %1, c=[[1, 2]]  loc "shift"
%3 = mul_clear %2, c=3  loc "scale again"
%4 = add_clear %3, c=[[4, 0]]  loc "shift again"
return %4
"""
MOVEMENTS = """
%x = input : u1[1x2x3] in [0, 1]
%0 = transpose %x, perm=[2, 0, 1]
%1 = transpose %0, perm=[2, 0, 1]
%2 = slice %1, starts=[1, 2, 0], stops=[-3, -4, 1], steps=[-1, -1, 1]
return %2
"""
STRAIGHT = """
%x = input : u2[2] in [0, 3]
%0 = lookup %x, base=0, table=[[1, 3, 5, 7], [2, 5, 8, 11]]  loc "fc"
return %0
"""
TWO_LOOK_UPS = """
%x = input : u2[2] in [0, 3]
%0 = lookup %x, base=0, table=[1, 3, 0, 2]  loc "one"
%1 = lookup %0, base=0, table=[0, 5, 5, 1]  loc "other"
return %1
"""
HOMOGENEOUS = """
%x = input : float32[1x2]
%w1 = constant value=[[8.0, 0.5], [-2.0, 0.25]] : float32[2x2]
%b = constant value=[4.0, 1.0] : float32[2]
%w2 = constant value=[[0.5, -0.25], [8.0, 2.0]] : float32[2x2]
%0 = onnx.MatMul %x, %w1 : float32[1x2]  loc "fc1"
%1 = onnx.Add %0, %b : float32[1x2]  loc "fc1"
%2 = onnx.Relu %1 : float32[1x2]  loc "relu"
%3 = onnx.MatMul %2, %w2 : float32[1x2]  loc "fc2"
return %3
"""
CONV = """
%x = input : u1[1x1x2x2] in [0, 1]
%0 = conv %x, w=[[[[1, 2], [3, -4]]], [[[2, -1], [1, 1]]]]  loc "conv"
%1 = mul_clear %0, c=[[[2]], [[5]]]  loc "scale"
return %1
"""
FLOATS = """
%x = input : float32[1x2]
%w = constant value=float32 [[1.0, 2.0], [-3.0, 4.0]]
%b = constant value=float32 [0.5, -1.5]
%0 = onnx.Gemm %x, %w, %b, transB=1 : float32[1x2]  loc "gemm"
%1 = onnx.Neg %0 : float32[1x2]  loc "neg"
return %1
"""
IMAGE = """
%x = input : float32[1x2x3x3]
%w = constant value=float32 [[[[1.0, 2.0], [3.0, -4.0]], [[0.0, 1.0], [1.0, 0.0]]]]
%s = constant value=float32 [2.0]
%b = constant value=float32 [0.5]
%m = constant value=float32 [-1.5]
%v = constant value=float32 [1.25]
%c = constant value=float32 (-2.0)
%0 = onnx.Conv %x, %w, pads=[1, 0, 0, 0] : float32[1x1x3x2]  loc "conv"
%1 = onnx.BatchNormalization %0, %s, %b, %m, %v : float32[1x1x3x2]  loc "bn"
%2 = onnx.MaxPool %1, kernel_shape=[3, 2] : float32[1x1x1x1]  loc "pool"
%3 = onnx.Mul %2, %c : float32[1x1x1x1]  loc "mul"
return %3
"""
TWICE = """
%x = input : u1[2] in [0, 1]
%0 = lookup %x, base=0, table=[1, 4]  loc "one"
%1 = lookup %x, base=0, table=[4, 1]  loc "other"
%2 = sub %0, %1
return %2
"""
STEPS = """
%x = input : float32[1x2]
%w = constant value=[[0.3, -0.1], [0.0, 0.2]] : float32[2x2]
%0 = onnx.MatMul %x, %w : float32[1x2]  loc "fc1"
return %0, names=["y"]
"""

CONSTANTS = """
%x = input : float32[2]
%0 = constant value=float32 [1.0, 2.0]
%1 = constant value=float32 [10.0, 30.0]
%2 = onnx.Add %0, %1 : float32[2]  loc "sum"
%3 = onnx.Mul %x, %2 : float32[2]  loc "product"
return %3
"""
QUANTIZED = """
%x = input : u2[1x2] in [0, 3]
%0 = mul_clear %x, c=[[3, 5]]  loc "fc"
%1 = add_clear %0, c=[[20, 10]]  loc "fc"
%2 = dequantize %1, scale=[[0.5, 0.25]], zero_point=[[22, 20]], offset=0.0  loc "fc"
%3 = onnx.Sigmoid %2 : float32[1x2]  loc "act"
%4 = quantize %3, scale=0.0625, zero_point=0, lo=0, hi=15  loc "act"
%5 = dequantize %4, scale=0.0625, zero_point=0, offset=0.0
return %5
"""
QDQ = """
%x = input : float32[1x2]
%s = constant value=0.25 : float32[]
%z = constant value=int8 (1) : int8[]
%lo = constant value=int8 (-2) : int8[]
%hi = constant value=int8 (3) : int8[]
%0 = onnx.QuantizeLinear %x, %s, %z : int8[1x2]  loc "q"
%1 = onnx.Clip %0, %lo, %hi : int8[1x2]  loc "clip"
%2 = onnx.DequantizeLinear %1, %s, %z : float32[1x2]  loc "dq"
%w = constant value=int8 [[1, -2], [3, 4]] : int8[2x2]
%ws = constant value=[0.5, 1.5] : float32[2]
%3 = onnx.DequantizeLinear %w, %ws, axis=0 : float32[2x2]  loc "dq w"
%4 = onnx.MatMul %2, %3 : float32[1x2]  loc "fc"
return %4
"""
WEIGHTS = """
%x = input : float32[1x2]
%w = int_constant value=[[1, -2], [3, 4]]
%0 = dequantize %w, scale=[[0.5], [0.25]], zero_point=0, offset=0.0
%1 = onnx.Gemm %x, %0, alpha=3.0, transB=1 : float32[1x2]  loc "gemm"
return %1
"""
TWO_LAYERS = """
%x = input : float32[1x2]
%w = constant value=float32 [[1.0, 2.0], [-3.0, 4.0]]
%0 = onnx.MatMul %x, %w : float32[1x2]  loc "fc1"
%1 = onnx.Relu %0 : float32[1x2]  loc "act"
%2 = onnx.MatMul %1, %w : float32[1x2]  loc "fc2"
return %2
"""
TWO_RESULTS = """
%x = input : u2[2] in [0, 3]
%0 = neg %x
%1 = mul_clear %x, c=2
return %0, %1
"""
OF_A_PLUGIN = """
%x = input : i2[2] in [-2, 1]
%0 = magnitude %x  loc "abs"
return %0
"""
SAMPLES = {"x": np.array([[[1.0, 2.0]], [[-3.0, 1.0]], [[2.0, -1.0]]], np.float32)}


@pytest.fixture(autouse=True)
def faulty_op() -> Iterator[None]:
    """An operation of a plugin whose decomposition has a table that is off by one."""
    before = dict(OPS)

    @op("magnitude")
    class Magnitude(Op):
        """|x|."""

        x: Value

        def infer(self) -> Int:
            return Int.of(self.x.shape, 0, 2)

        def eval(self, x: Array) -> Array:
            return np.abs(x)

        def decompose(self) -> Value:
            return Lookup(self.x, -2, np.array([1, 0, 1, 2])).result

    yield
    OPS.clear()
    OPS.update(before)


# --- faults ---------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Fault:
    """`old` reads `new` in a copy of `modules[0]`; the others import it, the last holds the pass.

    rule: the rule that is wrong then. samples: whether the pass needs calibration data.
    """

    item: str
    what: str
    text: str
    modules: tuple[str, ...]
    old: str
    new: str
    rule: str | None = None
    samples: bool = False

    def __str__(self) -> str:
        return f"{self.item}: {self.what}"


INTEGER = ("rules_integer", "canonicalize")
FLOAT = ("rules_float", "canonicalize")
LINEAR = ("rules_linear", "rules_float", "canonicalize")

MAXIMUM = """
%x = input : u3[1x4] in [0, 7]
%0 = slice %x, starts=[0, 0], stops=[1, 2], steps=[1, 1]
%1 = slice %x, starts=[0, 2], stops=[1, 4], steps=[1, 1]
%2 = max %0, %1
%3 = matmul %2, w=[[3, -2], [1, -4]]  loc "fc"
return %3
"""

TWO_TABLES = """
%x = input : u1[1x4] in [0, 1]
%0 = lookup %x, base=0, table=[[[0, 1], [0, 1], [0, 2], [1, 1]]]
%1 = slice %0, starts=[0, 0], stops=[1, 2], steps=[1, 1]
%2 = slice %0, starts=[0, 2], stops=[1, 4], steps=[1, 1]
%3 = max %1, %2
%4 = matmul %3, w=[[3, -2], [1, -4]]  loc "fc"
return %4
"""

FAULTS = [
    Fault(
        "place-lookups",
        "one table for elements that have two",
        TWO_TABLES,
        ("placement", "place_lookups"),
        "first, second = (np.broadcast_to(rows[value], op.x.shape) for value in op.operands)",
        "first = second = rows[op.x]",
    ),
    Fault(
        "refresh",
        "another value looked up",
        MAXIMUM,
        ("refresh",),
        "if found < price:\n                _look_up(value, rewriter)",
        "if True:\n                rewriter.replace_uses(value, value.owner.operands[0])",
    ),
    Fault(
        "canonicalize",
        "factor along the wrong axis",
        INTEGERS,
        INTEGER,
        "inner.w * factor))",
        "inner.w * factor[:, None]))",
        "factor_into_matmul",
    ),
    Fault(
        "canonicalize",
        "wrong sign of a term",
        INTEGERS,
        INTEGER,
        "inner.c + op.c",
        "inner.c - op.c",
        "merge_clear_terms",
    ),
    Fault(
        "canonicalize",
        "factor forgotten",
        INTEGERS,
        INTEGER,
        "AddClear(MulClear(inner.x, op.c).result, inner.c * op.c)",
        "AddClear(MulClear(inner.x, op.c).result, inner.c)",
        "factor_before_clear_term",
    ),
    Fault(
        "canonicalize",
        "factor of the channel before",
        CONV,
        INTEGER,
        "w = inner.w * factor.",
        "w = inner.w * np.roll(factor, 1).",
        "factor_into_conv",
    ),
    Fault(
        "canonicalize",
        "permutation inverted",
        MOVEMENTS,
        INTEGER,
        "np.array(inner.perm)[list(op.perm)]",
        "np.argsort(np.array(inner.perm)[list(op.perm)])",
        "merge_transposes",
    ),
    Fault(
        "canonicalize",
        "reversal forgotten",
        MOVEMENTS,
        INTEGER,
        " or any(step < 0 for step in op.steps):",
        ":",
        "drop_full_slice",
    ),
    Fault(
        "canonicalize",
        "transposition forgotten",
        FLOATS,
        LINEAR,
        'if gemm.attrs.get("transB", 0):',
        "if False:",
        "gemm_to_matmul",
    ),
    Fault(
        "canonicalize",
        "wrong sign of a negation",
        FLOATS,
        FLOAT,
        'if op.op_type == "Neg":\n        rw.replace(op, node("Mul", x, constant(-1, ',
        'if op.op_type == "Neg":\n        rw.replace(op, node("Mul", x, constant(1, ',
        "negation_to_factor",
    ),
    Fault(
        "canonicalize",
        "padding at the other end",
        IMAGE,
        LINEAR,
        "[0, 0, *pads[:space], 0, 0, *pads[space:]]",
        "[0, 0, *pads[space:], 0, 0, *pads[:space]]",
        "conv_without_padding",
    ),
    Fault(
        "canonicalize",
        "wrong sign of a mean",
        IMAGE,
        LINEAR,
        "(a, bias - mean * a)",
        "(a, bias + mean * a)",
        "batch_norm_to_affine",
    ),
    Fault(
        "canonicalize",
        "a falling function taken for a rising one",
        IMAGE,
        FLOAT,
        'rising = op.op_type in ("Add", "Sub") or (c > 0).all()',
        "rising = True",
        "monotone_before_max_pool",
    ),
    Fault(
        "canonicalize",
        "factor of the weights forgotten",
        WEIGHTS,
        ("rules_quantized", "canonicalize"),
        "x.scale * k",
        "x.scale",
        "factor_into_clear_integers",
    ),
    Fault(
        "canonicalize",
        "scales that do not move with their weights",
        WEIGHTS,
        ("rules_quantized", "canonicalize"),
        "Dequantize(clear, result.scale,",
        "Dequantize(clear, source.scale,",
        "move_clear_integers",
    ),
    Fault(
        "import-quantized",
        "zero point forgotten",
        QDQ,
        ("quantize_linear", "import_quantized"),
        'Quantize(_cast(x, "float32"), *grid, *bounds)',
        'Quantize(_cast(x, "float32"), grid[0], ZERO, *bounds)',
    ),
    Fault(
        "import-quantized",
        "bits forgotten",
        QDQ,
        ("quantize_linear", "import_quantized"),
        "hi = min(quantize.hi, hi if high is None else int(high.reshape(())))",
        "hi = quantize.hi",
    ),
    Fault(
        "import-quantized",
        "scales along the wrong axis",
        QDQ,
        ("quantize_linear", "import_quantized"),
        "-1 if i == axis else 1",
        "1 if i == axis else -1",
    ),
    Fault(
        "cse",
        "tables not compared",
        TWICE,
        ("cse",),
        "for name in op.attribute_fields]",
        "for name in ()]",
    ),
    Fault(
        "dce",
        "what is read dies",
        TWO_RESULTS,
        ("dce",),
        "        if is_dead(op):\n            rewriter.erase(op)",
        "        if op.pure:\n            rewriter.replace(op, op.operands[0])",
    ),
    Fault(
        "fold-constants",
        "wrong order",
        CONSTANTS,
        ("fold_constants",),
        "sealed(array[0])",
        "sealed(array[0][::-1])",
    ),
    Fault(
        "find-grids",
        "sign lost",
        STEPS,
        ("find_grids",),
        "return integers.astype(np.int64)",
        "return np.abs(integers).astype(np.int64)",
    ),
    Fault(
        "center",
        "wrong sign of the shift",
        QUANTIZED,
        ("center",),
        "source.zero_point + shift",
        "source.zero_point - shift",
    ),
    Fault(
        "center",
        "one channel's shift for all",
        QUANTIZED,
        ("center",),
        "source.zero_point + shift",
        "source.zero_point + shift.reshape(-1)[0]",
    ),
    Fault(
        "fuse",
        "table off by one",
        QUANTIZED,
        ("fuse",),
        "base + np.arange(1 << type.bits)",
        "base + 1 + np.arange(1 << type.bits)",
    ),
    Fault(
        "fuse",
        "one channel's table for all",
        QUANTIZED,
        ("fuse",),
        "Lookup(q, base, table)",
        "Lookup(q, base, table[..., :1, :])",
    ),
    Fault(
        "fuse",
        "table reversed",
        QUANTIZED,
        ("fuse",),
        "Lookup(q, base, table)",
        "Lookup(q, base, table[..., ::-1])",
    ),
    Fault(
        "calibrate",
        "another value observed",
        TWO_LAYERS,
        ("calibrate",),
        "Observe(value, lo, hi)",
        "Observe(groups[0][0], lo, hi)",
        samples=True,
    ),
    Fault(
        "check-support",
        "results change places",
        TWO_RESULTS,
        ("check_support",),
        "        found = list(",
        "        rewriter.returns(graph.outputs[::-1])\n        found = list(",
    ),
    Fault(
        "partition",
        "results change places",
        TWO_RESULTS,
        ("partition",),
        "dict(zip(outputs, received, strict=True))",
        "dict(zip(outputs, received[::-1], strict=True))",
    ),
    Fault(
        "simplify-lookups",
        "slope of the neighbour",
        STRAIGHT,
        ("simplify_lookups",),
        "scaled = MulClear(x, compress(slope)).result",
        "scaled = MulClear(x, compress(np.roll(slope, 1))).result",
    ),
    Fault(
        "simplify-lookups",
        "tables in the wrong order",
        TWO_LOOK_UPS,
        ("simplify_lookups",),
        "np.moveaxis(outer.eval(entries) if not moves",
        "np.moveaxis(inner.eval(entries) if not moves",
    ),
    Fault(
        "equalize",
        "scale moved out, not in",
        HOMOGENEOUS,
        ("equalize",),
        "second * _along(repeated, axis, second.ndim)",
        "second / _along(repeated, axis, second.ndim)",
    ),
    Fault(
        "equalize",
        "constants forgotten",
        HOMOGENEOUS,
        ("equalize",),
        "constant / behind",
        "constant",
    ),
]


def sabotaged(fault: Fault) -> Pass:
    """The copy of a pass with its fault."""
    copies: dict[str, types.ModuleType] = {}
    with pytest.MonkeyPatch.context() as patch:
        for name in fault.modules:
            module = importlib.import_module(f"lutra.passes.{name}")
            source = inspect.getsource(module)
            if not copies:
                assert source.count(fault.old) == 1, f"{module.__name__} has changed: {fault.old}"
                source = source.replace(fault.old, fault.new)
            copies[name] = types.ModuleType(module.__name__)
            patch.setitem(sys.modules, module.__name__, copies[name])
            exec(compile(source, f"<{fault}>", "exec"), copies[name].__dict__)
    original = registry.find(fault.item)
    made = copies[fault.modules[-1]].__dict__[original.__name__]()
    assert isinstance(made, Pass)
    assert not isinstance(made, original)
    return made


def assert_caught(text: str, bad: Pass, context: Context, rule: str | None = None) -> None:
    """`Validate` finds the pass's promise broken, and `bisect` finds the pass, between others."""
    pipeline = Pipeline((CheckSupport(), bad, Clean()))
    with pytest.raises(PipelineError, match=f"P010.*pass `{bad.name}` promises"):
        pipeline.execute(parse_module(text), context, [Validate()])
    module = parse_module(text)
    culprit = bisect(pipeline, module, same_outputs(module, context), context)
    assert culprit is not None
    assert (culprit.item, culprit.index, culprit.rule) == (bad, 1, rule)
    assert str(module) == str(parse_module(text))


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_fault_is_caught_and_its_pass_named(fault: Fault) -> None:
    context = Context(SAMPLES if fault.samples else None)
    right = Pipeline((registry.find(fault.item)(),))
    right.execute(parse_module(fault.text), context, [Validate()])
    assert_caught(fault.text, sabotaged(fault), context, fault.rule)


@pytest.mark.parametrize("text", ["decompose", "partition,legalize"])
def test_a_fault_in_a_decomposition_is_caught(text: str) -> None:
    *before, bad = Pipeline.parse(text).items
    module = parse_module(OF_A_PLUGIN)
    Pipeline(tuple(before)).execute(module, Context(), [Validate()])
    with pytest.raises(PipelineError, match=f"P010.*pass `{bad.name}` promises"):
        Pipeline((bad,)).execute(module.clone(), Context(), [Validate()])
    culprit = bisect(Pipeline((bad,)), module, same_outputs(module))
    assert culprit is not None
    assert culprit.item is bad


def test_every_pass_that_promises_something_has_a_fault() -> None:
    promising = {
        name
        for name, cls in registry.built_in().items()
        if math.isfinite(cls.contract.eps) and is_one(cls())
    }
    assert promising == {fault.item for fault in FAULTS} | {"decompose", "legalize"}


# --- what escapes no longer -----------------------------------------------------------------------
@dataclass(frozen=True)
class Silent(Pass):
    """Swaps results and says that it changed nothing."""

    name: ClassVar[str] = "silent"
    contract: ClassVar[Contract] = Exact

    def run_module(self, module: Module, context: Context) -> int:
        Rewriter(module.main).returns(module.main.outputs[::-1])
        return 0


@dataclass(frozen=True)
class Drop(Pass):
    """Leaves a result out."""

    name: ClassVar[str] = "drop"
    contract: ClassVar[Contract] = Exact

    def run(self, graph: Graph, rewriter: Rewriter, context: Context) -> None:
        rewriter.returns(graph.outputs[:1])


@dataclass(frozen=True)
class Claim(Pass):
    """Narrows a range to what no value is, behind a wrong sign."""

    name: ClassVar[str] = "claim"
    contract: ClassVar[Contract] = Exact

    def run(self, graph: Graph, rewriter: Rewriter, context: Context) -> None:
        for node in list(graph.of(Neg)):
            rewriter.replace(node, Assume(node.x, np.array(-3), np.array(0)))


@pytest.mark.parametrize("bad", [Silent(), Drop(), Claim()], ids=lambda item: item.name)
def test_other_ways_to_break_a_promise(bad: Pass) -> None:
    assert_caught(TWO_RESULTS, bad, Context())


@dataclass(frozen=True)
class Root(Pass):
    """Makes some results no numbers."""

    name: ClassVar[str] = "root"
    contract: ClassVar[Contract] = Exact

    def run(self, graph: Graph, rewriter: Rewriter, context: Context) -> None:
        for node in list(graph.of(Onnx)):
            rewriter.replace(node, Onnx(node.inputs, "Sqrt", node.types, {}))


def test_what_is_no_number_is_caught() -> None:
    text = "%x = input : float32[2]\n%0 = onnx.Relu %x : float32[2]\nreturn %0"
    assert_caught(text, Root(), Context())


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ([1.0, 4.0], [1.0, 3.0], 0.25),
        ([0.0], [0.5], 0.5),
        ([np.nan, np.inf, 2.0], [np.nan, np.inf, 2.0], 0),
        ([np.nan, 2.0], [1.0, 2.0], math.inf),
        ([1.0, 2.0], [np.nan, 2.0], math.inf),
        ([np.inf], [-np.inf], math.inf),
        ([True, False], [True, True], 1),
        ([4, 2], [4, 2], 0),
        ([1 << 60], [(1 << 60) + 1], np.finfo(float).tiny),
        ([1], [1.0], math.inf),
        ([[1]], [1], math.inf),
        (["a"], ["b"], math.inf),
        ([], [], 0),
    ],
)
def test_differences(old: list[object], new: list[object], error: float) -> None:
    assert relative_error((np.array(old),), (np.array(new),)) == error
    assert relative_error((), (np.array(new),)) == math.inf


def test_what_does_not_run_is_caught() -> None:
    text = """
    %x = input : float32[2]
    %0 = onnx.Relu %x : float32[2]
    return %0
    """

    @dataclass(frozen=True)
    class Break(Pass):
        """Names an operator that there is not."""

        name: ClassVar[str] = "break"
        contract: ClassVar[Contract] = Exact

        def run(self, graph: Graph, rewriter: Rewriter, context: Context) -> None:
            for node in list(graph.of(Onnx)):
                rewriter.replace(node, Onnx(node.inputs, "Rleu", node.types, {}))

    assert_caught(text, Break(), Context())
