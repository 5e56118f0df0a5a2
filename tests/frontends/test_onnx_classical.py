"""Linear models and tree ensembles of ai.onnx.ml: onnxruntime says what they mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from lutra.frontends.onnx import import_model
from lutra.ir.errors import ModelError
from lutra.ir.ops import Onnx
from lutra.ir.program import Program
from onnx_models import OLD_RUNTIME, run
from tree_models import FEATURES, ensemble, inputs

SCORES = helper.make_tensor_value_info("scores", TensorProto.FLOAT, None)
LABEL = helper.make_tensor_value_info("label", TensorProto.INT64, None)


def model_of(op_type: str, outputs: list[Any], features: int, **attributes: Any) -> onnx.ModelProto:
    names = ["label", "scores"] if "Classifier" in op_type else ["scores"]
    node = helper.make_node(op_type, ["x"], names, "model", domain="ai.onnx.ml", **attributes)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", features])
    graph = helper.make_graph([node], "g", [x], outputs)
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def assert_same(model: onnx.ModelProto, features: int) -> list[str]:
    """The imported model computes what onnxruntime does of the file; its operators."""
    x = inputs(200, features)
    module = import_model(model)
    found = Program(module.clone()).run({"x": x[:, None]})
    for new, old in zip(found, run(model, {"x": x}), strict=True):
        np.testing.assert_allclose(new.reshape(old.shape), old, rtol=1e-5, atol=1e-6)
    return [op.op_type for op in module.main.of(Onnx)]


@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC", "SOFTMAX"])
@pytest.mark.parametrize("classes", [2, 3])
def test_linear_classifiers(classes: int, transform: str) -> None:
    rng = np.random.default_rng(classes)
    model = model_of(
        "LinearClassifier",
        [LABEL, SCORES],
        4,
        coefficients=rng.normal(size=4 * classes),
        intercepts=rng.normal(size=classes),
        classlabels_ints=[7, 5, 9][:classes],
        post_transform=transform,
    )
    assert "MatMul" in assert_same(model, 4)


@pytest.mark.parametrize("targets", [1, 2])
def test_linear_regressors(targets: int) -> None:
    rng = np.random.default_rng(targets)
    coefficients, intercepts = rng.normal(size=4 * targets), rng.normal(size=targets)
    model = model_of(
        "LinearRegressor",
        [SCORES],
        4,
        coefficients=coefficients,
        intercepts=intercepts,
        targets=targets,
    )
    assert "MatMul" in assert_same(model, 4)
    bare = model_of("LinearRegressor", [SCORES], 4, coefficients=coefficients, targets=targets)
    assert_same(bare, 4)


@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC", "SOFTMAX"])
@pytest.mark.parametrize("sign", ["positive", "mixed"])
@pytest.mark.parametrize(
    ("classes", "targets", "base"), [(2, 1, 0), (2, 1, 1), (2, 2, 0), (3, 3, 0), (3, 3, 1)]
)
def test_tree_classifiers(classes: int, targets: int, base: int, sign: str, transform: str) -> None:
    """Of two scores onnxruntime adds the first base value to none, and decides by the second."""
    if OLD_RUNTIME and (targets, sign, transform) == (1, "positive", "LOGISTIC"):
        pytest.skip("this onnxruntime leaves the only score as it is")
    given = ensemble(seed=classes, trees=4, targets=targets, positive=sign == "positive")
    given = {name.replace("target_", "class_"): value for name, value in given.items()}
    del given["n_targets"]
    if base:
        given["base_values"] = [0.25, -0.5, 0.125][:targets]
    labels = [0, 1] if classes == 2 else [3, 8, 1]  # onnxruntime calls two classes 0 and 1
    model = model_of(
        "TreeEnsembleClassifier",
        [LABEL, SCORES] if classes > 2 or targets == 1 else [SCORES],
        FEATURES,
        classlabels_int64s=labels,
        post_transform=transform,
        **given,
    )
    assert "TreeEnsembleRegressor" in assert_same(model, FEATURES)


@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC", "SOFTMAX"])
@pytest.mark.parametrize("aggregate", ["SUM", "AVERAGE"])
def test_tree_regressors(aggregate: str, transform: str) -> None:
    model = model_of(
        "TreeEnsembleRegressor",
        [SCORES],
        FEATURES,
        aggregate_function=aggregate,
        post_transform=transform,
        **ensemble(seed=1, trees=3, targets=2),
    )
    assert_same(model, FEATURES)


def test_dictionaries_of_scores_become_arrays() -> None:
    model = model_of(
        "TreeEnsembleClassifier",
        [LABEL, SCORES],
        FEATURES,
        classlabels_int64s=[0, 1],
        **{k.replace("target_", "class_"): v for k, v in ensemble().items() if k != "n_targets"},
    )
    plain = import_model(model)
    zipped = helper.make_node(
        "ZipMap", ["scores"], ["maps"], "zip", domain="ai.onnx.ml", classlabels_int64s=[0, 1]
    )
    model.graph.node.append(zipped)
    kind = helper.make_map_type_proto(
        TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    )
    del model.graph.output[1]
    model.graph.output.append(helper.make_value_info("maps", helper.make_sequence_type_proto(kind)))
    x = inputs(20, FEATURES)[:, None]
    for first, second in zip(
        Program(import_model(model)).run({"x": x}), Program(plain).run({"x": x}), strict=True
    ):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"nodes_modes": ["BRANCH_EQ", "LEAF", "LEAF"]}, "nodes of mode BRANCH_EQ"),
        ({"post_transform": "PROBIT"}, "post_transform is PROBIT"),
        ({"aggregate_function": "MAX"}, "aggregate_function is MAX"),
    ],
)
def test_refusals_have_a_reason(change: dict[str, Any], reason: str) -> None:
    model = model_of("TreeEnsembleRegressor", [SCORES], FEATURES, **{**ensemble(), **change})
    with pytest.raises(ModelError, match=rf"F004(?s:.*){reason}"):
        import_model(model)
