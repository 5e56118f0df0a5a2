"""ONNX's own node tests, imported and run by the interpreter: one test for each operator.

Integers and scales that come as inputs are made constants, as they are in real models: shapes may
depend on them. A case either gives what ONNX says or is refused with a `ModelError`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import onnx
import pytest
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests

from lutra.frontends.onnx import import_model
from lutra.ir.core import Module
from lutra.ir.errors import ModelError
from lutra.ir.interpreter import evaluate
from lutra.ir.traits import TRAITS
from lutra.ir.types import Array
from lutra.ir.verifier import verify
from onnx_models import ONNXRUNTIME

SEVERAL = "several nodes"

REFUSED = {
    **dict.fromkeys(("BitCast", "CumProd", "TensorScatter"), "younger than the opset"),
    "LinearAttention": "its body is a loop",
    **dict.fromkeys(("NonMaxSuppression", "NonZero", "Unique"), "depends on data"),
    **dict.fromkeys(("Bernoulli", "RandomUniformLike"), "draws random numbers"),
    **dict.fromkeys(("ImageDecoder",), "onnxruntime has no kernel"),
    **dict.fromkeys(("If", "Loop", "Scan", "SequenceMap"), "runs a subgraph"),
    **dict.fromkeys(
        ("ConcatFromSequence", "SequenceInsert", "SplitToSequence"),
        "sequences and optionals",
    ),
    **dict.fromkeys(
        ("RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit"), "strings"
    ),
}
"""Operators of which no case is imported, and why."""

SIZES_ONLY = (
    *("BlackmanWindow", "HammingWindow", "HannWindow", "MelWeightMatrix"),
    *("ConstantOfShape", "Range"),
)
"""Operators all of whose inputs are sizes."""

LEFT_OUT = (
    *("bitshift_left_int", "bitshift_right_int"),  # of signed integers, since opset 28
    "FLOAT8E5M2",  # a type that onnxruntime does not take from numpy
    "range_float16",  # since opset 27
    "training_mode",
)
"""Parts of the names of cases that are refused, of operators that have a trait."""

LOOPS = (
    "test_range_float_type_positive_delta_expanded",
    "test_range_int32_type_negative_delta_expanded",
)
"""Cases that loop as often as their inputs say."""

DEVIATE: tuple[str, ...] = ("test_dft", "test_stft", "test_resize_downsample_scales")
"""Cases that onnxruntime computes otherwise than ONNX says."""

if ONNXRUNTIME < (1, 31):
    REFUSED["DeformConv"] = "onnxruntime has no kernel"
    DEVIATE += ("test_reversesequence",)

CasesOf = Callable[[str], list[TestCase]]


@pytest.fixture(scope="module")
def cases_of() -> CasesOf:
    """Gives one operator's cases. (All of them in one value would drown a failure's report.)"""
    found = defaultdict(list)
    for case in load_model_tests(kind="node"):
        assert case.model is not None
        nodes = case.model.graph.node
        found[nodes[0].op_type if len(nodes) == 1 else SEVERAL].append(case)
    return lambda op_type: found[op_type]


def operators() -> list[str]:
    schemas = onnx.defs.get_all_schemas()
    return sorted({schema.name for schema in schemas if not schema.domain})


def usable_data(case: TestCase) -> Iterator[tuple[Sequence[Array], Sequence[Array]]]:
    """Those sets of inputs and outputs that are tensors of numpy's own types, and not empty."""
    for inputs, outputs in case.data_sets or ():
        arrays = [array_of(value) for value in (*inputs, *outputs)]
        if all(array.size and array.dtype.kind in "fiub" for array in arrays):
            yield arrays[: len(inputs)], arrays[len(inputs) :]


def array_of(value: object) -> Array:
    """A tensor's values; an empty array for what is no tensor."""
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    return np.asarray(value) if isinstance(value, np.ndarray | np.generic) else np.zeros(0)


def module_of(model: onnx.ModelProto, inputs: Sequence[Array]) -> tuple[Module, dict[str, Array]]:
    """The module, and what to feed it: all inputs that are not made constants."""
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    twin.opset_import[0].version = max(7, twin.opset_import[0].version)
    sizes_only = model.graph.node[0].op_type in SIZES_ONLY or model.graph.name in LOOPS
    feeds = {}
    for index, (value, array) in enumerate(zip(model.graph.input, inputs, strict=True)):
        is_size = array.dtype.kind in "iub" or not array.ndim or value.name in ("scales", "roi")
        if is_size and (index or sizes_only):
            twin.graph.initializer.append(onnx.numpy_helper.from_array(array, value.name))
        else:
            feeds[value.name] = array
    shapes = {name: array.shape for name, array in feeds.items()}
    return import_model(twin, shapes=shapes), feeds


def check(case: TestCase, got: Array, want: Array) -> None:
    assert got.dtype == want.dtype, case.name
    np.testing.assert_allclose(
        got.astype(np.float64),
        want.astype(np.float64),
        rtol=max(case.rtol, 1e-3),
        atol=max(case.atol, 1e-5),
        err_msg=case.name,
    )


@pytest.mark.parametrize("op_type", [*operators(), SEVERAL])
def test_operator(op_type: str, cases_of: CasesOf) -> None:
    found = {case.name: list(runs(case)) for case in cases_of(op_type)}
    imported = [done for each in found.values() for done in each]
    if not imported:
        pytest.skip("ONNX has no test of this operator on numbers of numpy's types")
    assert any(imported) != (op_type in REFUSED)
    if op_type in TRAITS and ONNXRUNTIME >= (1, 31):
        missed = [name for name, each in found.items() if not all(each)]
        assert [name for name in missed if not any(part in name for part in LEFT_OUT)] == []


def runs(case: TestCase) -> Iterator[bool]:
    """For each of a case's data sets, whether it is imported; then it must give ONNX's results."""
    assert case.model is not None
    for inputs, outputs in usable_data(case):
        try:
            module, feeds = module_of(case.model, inputs)
            verify(module)
            found = evaluate(module.main, {name: array[None] for name, array in feeds.items()})
        except ModelError:
            yield False
            continue
        if not case.name.startswith(DEVIATE):
            for got, want in zip(found, outputs, strict=True):
                check(case, got[0], want)
        yield True
