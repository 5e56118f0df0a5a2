"""Fitted estimators of scikit-learn, by way of skl2onnx."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any, TypeGuard

from onnx import ModelProto, NodeProto, helper

from lutra.frontends.onnx import import_model
from lutra.ir.core import Module
from lutra.ir.errors import InputError, ModelError

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

INPUT = "x"
"""Name of the only input, float32 [samples, features]."""

OPSETS = {"": 21, "ai.onnx.ml": 3}

LABELS = {"LinearClassifier": "classlabels_ints", "TreeEnsembleClassifier": "classlabels_int64s"}
"""Operators that may hold classes as strings, and their attribute for numbers instead."""


def read(source: Any) -> Module | None:
    """The graph `main` of a fitted estimator or pipeline; None for anything else.

    A regressor's result is its prediction; a classifier's are probabilities or scores (samples,
    classes), in the order of its `classes_`: the decision is left to the client.

    Errors: I005 where the estimator is not fitted, I008 without skl2onnx, F004 where that does not
    convert it, F... as of `import_model`.
    """
    return import_model(exported(source)) if is_estimator(source) else None


def is_estimator(source: Any) -> TypeGuard[BaseEstimator]:
    """Whether this is an estimator of scikit-learn, which is imported only if it is already."""
    base = sys.modules.get("sklearn.base")
    return base is not None and isinstance(source, base.BaseEstimator)


def exported(estimator: BaseEstimator) -> ModelProto:
    """The estimator as ONNX, without the classes that it would choose. Errors as of `read`."""
    from sklearn.base import is_classifier

    to_onnx, float_tensor = _skl2onnx()
    features = _features(estimator)
    classifies = is_classifier(estimator)
    options = {id(estimator): {"zipmap": False}} if classifies else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of versions that it was not tested with
            model: ModelProto = to_onnx(
                estimator,
                initial_types=[(INPUT, float_tensor([None, features]))],
                options=options,
                target_opset=OPSETS,
            )
    except Exception as error:  # it raises exceptions of many kinds, some with whole models
        said = (str(error).strip().splitlines() or [""])[0][:200]
        raise ModelError(
            "F004",
            f"skl2onnx does not convert {type(estimator).__name__}: {said}",
            help="convert the estimator to ONNX by another tool, and compile that",
        ) from error
    return _without_decision(model) if classifies else model


def _skl2onnx() -> tuple[Any, Any]:
    try:
        from skl2onnx import convert_sklearn
        from skl2onnx.common.data_types import FloatTensorType
    except ModuleNotFoundError as error:
        raise InputError(
            "I008",
            f"{error.name} is not installed",
            help="install Lutra's extra `sklearn`",
        ) from error
    return convert_sklearn, FloatTensorType


def _features(estimator: BaseEstimator) -> int:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(estimator)
        return int(estimator.n_features_in_)
    except (NotFittedError, AttributeError) as error:
        raise InputError(
            "I005", f"{type(estimator).__name__} is not fitted", help="call its `fit` before"
        ) from error


def _without_decision(model: ModelProto) -> ModelProto:
    """A classifier without its first result, and with classes 0, 1, ... where they were strings."""
    scores = list(model.graph.output[1:])
    del model.graph.output[:]
    model.graph.output.extend(scores)
    for node in model.graph.node:
        _number_classes(node)
    return model


def _number_classes(node: NodeProto) -> None:
    name = LABELS.get(node.op_type)
    strings = [a for a in node.attribute if a.name == "classlabels_strings" and a.strings]
    if name and strings:
        node.attribute.append(helper.make_attribute(name, range(len(strings[0].strings))))
        node.attribute.remove(strings[0])
