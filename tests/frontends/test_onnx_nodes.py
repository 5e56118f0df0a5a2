"""ONNX's own node tests, imported and run by the interpreter: one test for each operator.

Integers and scales that come as inputs are made constants, as they are in real models: shapes may
depend on them. A case either gives what ONNX says or is refused with a `ModelError`; which ones are
refused stands in `node_cases`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import onnx
import pytest
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests

import node_cases
from lutra.frontends.onnx import import_model
from lutra.frontends.onnx.young import HELD
from lutra.ir.core import Module
from lutra.ir.errors import ModelError
from lutra.ir.interpreter import evaluate
from lutra.ir.types import Array
from lutra.ir.verifier import verify
from onnx_models import OLD_RUNTIME

SEVERAL = "several nodes"

SIZES_ONLY = (
    *("BlackmanWindow", "HammingWindow", "HannWindow", "MelWeightMatrix"),
    *("ConstantOfShape", "Range"),
)
"""Operators all of whose inputs are sizes."""

LOOPS = (
    "test_range_bfloat16_type_positive_delta_expanded",
    "test_range_float16_type_positive_delta_expanded",
    "test_range_float_type_positive_delta_expanded",
    "test_range_int32_type_negative_delta_expanded",
)
"""Cases that loop as often as their inputs say."""

CasesOf = Callable[[str], list[TestCase]]


@pytest.fixture(scope="module")
def cases_of() -> CasesOf:
    """Gives one operator's cases. (All of them in one value would drown a failure's report.)"""
    cases = load_model_tests(kind="node")
    single = {case.name: nodes[0].op_type for case in cases if len(nodes := nodes_of(case)) == 1}
    found = defaultdict(list)
    for case in cases:
        plain = case.name.partition("_expanded")[0]
        found[single.get(case.name) or single.get(plain, SEVERAL)].append(case)
    return lambda op_type: found[op_type]


def nodes_of(case: TestCase) -> Sequence[onnx.NodeProto]:
    assert case.model is not None
    return case.model.graph.node


def operators() -> list[str]:
    schemas = onnx.defs.get_all_schemas()
    return sorted({schema.name for schema in schemas if not schema.domain})


def array_of(value: object) -> Array | None:
    """A tensor's values; None for what is no tensor."""
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    return np.asarray(value) if isinstance(value, np.ndarray | np.generic) else None


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
    """Numbers as near as ONNX asks for, in its type or in the one that holds it."""
    held = HELD.get(onnx.helper.np_dtype_to_tensor_dtype(want.dtype))
    dtype = onnx.helper.tensor_dtype_to_np_dtype(held) if held else want.dtype
    assert got.dtype == dtype, case.name
    places = 2**-6 if want.dtype.name == "bfloat16" else 0.0  # two units of the last of 8 bits
    np.testing.assert_allclose(
        got.astype(np.float64),
        want.astype(np.float64),
        rtol=max(case.rtol, 1e-3, places),
        atol=max(case.atol, 1e-5),
        err_msg=case.name,
    )


@pytest.mark.parametrize("op_type", [*operators(), SEVERAL])
def test_operator(op_type: str, cases_of: CasesOf) -> None:
    if OLD_RUNTIME and op_type == "ReverseSequence":
        pytest.skip("this onnxruntime reverses other sequences")
    imported = {case.name: runs(case) for case in cases_of(op_type)}
    if not imported:
        pytest.skip("ONNX has no test of this operator")
    missed = {name for name, done in imported.items() if not done}
    if op_type in node_cases.LISTED and not OLD_RUNTIME:
        assert missed == set(node_cases.EXCEPTIONS) & set(imported)
    elif not (OLD_RUNTIME and op_type == "DeformConv"):
        assert (missed == set(imported)) == (op_type in node_cases.REFUSED)


def test_the_number_of_cases_is_stated(cases_of: CasesOf) -> None:
    names = {case.name for op_type in node_cases.LISTED for case in cases_of(op_type)}
    assert names >= set(node_cases.EXCEPTIONS)
    assert len(names) == node_cases.CASES


def runs(case: TestCase) -> bool:
    """Whether a case is imported; then it must give ONNX's results on all of its data."""
    return all(list(map(partial(runs_on, case), case.data_sets or ())))


def runs_on(case: TestCase, data: tuple[Sequence[object], Sequence[object]]) -> bool:
    assert case.model is not None
    inputs, outputs = (list(map(array_of, values)) for values in data)
    try:
        if any(array is None for array in (*inputs, *outputs)):
            import_model(case.model)
            raise AssertionError(f"{case.name} has data that are no tensors, and is imported")
        module, feeds = module_of(case.model, inputs)
        verify(module)
        found = evaluate(module.main, {name: array[None] for name, array in feeds.items()})
    except ModelError:
        return False
    if not case.name.startswith(node_cases.DEVIATE):
        for got, want in zip(found, outputs, strict=True):
            check(case, got[0], want)
    return True
