"""Estimators of scikit-learn as a source of `compile`."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("skl2onnx", reason="skl2onnx is not installed")

from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

import lutra
from lutra.frontends.registry import import_source
from lutra.ir.errors import InputError, ModelError
from lutra.ir.program import Program
from lutra.ir.types import Array

IRIS: Any = load_iris()
X: Array = IRIS.data.astype(np.float32)
NAMES: Array = IRIS.target_names[IRIS.target]


def classifiers() -> list[Any]:
    return [
        LogisticRegression(max_iter=500),
        RidgeClassifier(),
        MLPClassifier(hidden_layer_sizes=(8,), max_iter=800, random_state=0),
        make_pipeline(StandardScaler(), LogisticRegression()),
        GradientBoostingClassifier(n_estimators=5, max_depth=2),
        RandomForestClassifier(5, random_state=0),
        DecisionTreeClassifier(),
    ]


def regressors() -> list[Any]:
    return [
        LinearRegression(),
        MLPRegressor(hidden_layer_sizes=(8,), max_iter=500, random_state=0),
        RandomForestRegressor(5, random_state=0),
    ]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("estimator", classifiers(), ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("classes", [2, 3])
def test_classifiers_give_scores_by_class(estimator: Any, classes: int) -> None:
    chosen = IRIS.target < classes
    estimator.fit(X[chosen], NAMES[chosen])
    (scores,) = Program(import_source(estimator)).run({"x": X[chosen][:, None]})
    scores = scores.reshape(len(scores), -1)
    if hasattr(estimator, "predict_proba"):
        np.testing.assert_allclose(scores, estimator.predict_proba(X[chosen]), atol=1e-5)
    columns = scores.argmax(1) if scores.shape[1] > 1 else (scores[:, 0] > 0).astype(int)
    np.testing.assert_array_equal(estimator.classes_[columns], estimator.predict(X[chosen]))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("estimator", regressors(), ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("targets", [1, 2])
def test_regressors(estimator: Any, targets: int) -> None:
    estimator.fit(X[:, :3], X[:, 3] if targets == 1 else X[:, 2:])
    (found,) = Program(import_source(estimator)).run({"x": X[:, None, :3]})
    expected = estimator.predict(X[:, :3])
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-4, atol=1e-4)


def test_compile_takes_an_estimator() -> None:
    estimator = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, NAMES)
    model = lutra.compile(estimator, X)
    assert model.pbs_count == 0
    chosen = estimator.classes_[np.asarray(model.predict(X)).argmax(1)]
    assert np.mean(chosen == estimator.predict(X)) > 0.97


def test_features_in_units_of_their_own() -> None:
    """Some of these are a thousand times as large as others."""
    x, y = load_breast_cancer(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(
        x.astype(np.float32), y, test_size=0.3, random_state=0
    )
    classifier = LogisticRegression(max_iter=3000).fit(x_train, y_train)
    found = np.asarray(lutra.compile(classifier, x_train).predict(x_test)).argmax(1)
    assert np.mean(found == y_test) > classifier.score(x_test, y_test) - 0.01


def test_boosted_trees_keep_their_accuracy() -> None:
    x, y = load_breast_cancer(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(
        x.astype(np.float32), y, test_size=0.3, random_state=0
    )
    trees = GradientBoostingClassifier(n_estimators=20, random_state=0).fit(x_train, y_train)
    model = lutra.compile(trees, x_train, "default{rounding=5}")
    simulated = np.asarray(model.predict(x_test, mode="simulate", seed=0))
    assert np.mean(simulated.argmax(1) == y_test) > trees.score(x_test, y_test) - 0.01
    assert np.abs(simulated - trees.predict_proba(x_test)).mean() < 0.005
    assert model.pbs_count < 150


def test_boosted_regression() -> None:
    trees = GradientBoostingRegressor(n_estimators=10, max_depth=2, random_state=0)
    trees.fit(X[:, :3], X[:, 3])
    model = lutra.compile(trees, X[:, :3], "narrow{inputs=6,weights=8}")
    wrong = np.asarray(model.predict(X[:, :3]))[:, 0] - trees.predict(X[:, :3])
    assert np.abs(wrong).mean() < 0.01


def test_what_cannot_be_read() -> None:
    with pytest.raises(InputError, match=r"I005.*not fitted"):
        import_source(LogisticRegression())
    with pytest.raises(ModelError, match=r"F00.*"):
        lutra.compile(SVC().fit(X, NAMES), X)
