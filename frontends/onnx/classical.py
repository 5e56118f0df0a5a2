"""Linear models and tree ensembles of the domain `ai.onnx.ml`, by ONNX's own operators.

https://onnx.ai/onnx/operators/index.html#ai-onnx-ml
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto

from lutra.frontends.onnx.attributes import attributes_of
from lutra.frontends.onnx.body import Body
from lutra.frontends.onnx.cleanup import splice
from lutra.frontends.onnx.draft import Draft
from lutra.frontends.onnx.proto import is_typed
from lutra.ir.types import Array

DOMAIN = "ai.onnx.ml"

TRANSFORMS = {"NONE": "", "LOGISTIC": "Sigmoid", "SOFTMAX": "Softmax"}
"""What is applied to scores, as ONNX's own operators."""

AGGREGATES = ("SUM", "AVERAGE")
"""How the trees of an ensemble are put together, as Lutra takes them."""

EQUALITIES = ("BRANCH_EQ", "BRANCH_NEQ")
"""Branches that it does not take."""


def expand_classical(draft: Draft) -> bool:
    """LinearClassifier(x) -> MatMul, Add, ArgMax; TreeEnsembleClassifier -> TreeEnsembleRegressor.

    ZipMap, which makes a dictionary of each row of scores, is left out.
    """
    types, taken = draft.types(), draft.names()
    nodes: list[NodeProto] = []
    changed = False
    for node in draft.graph.node:
        expand = _EXPANSIONS.get(node.op_type) if node.domain == DOMAIN else None
        ready = expand and is_typed(node.input, types) and not obstacle(node)
        body = expand(node) if expand and ready else None
        results = (*node.output, "")
        nodes.extend(splice(draft, body, node, results, taken) if body else [node])
        changed |= body is not None
    draft.set_nodes(nodes)
    _untype(draft, (n for n in draft.graph.node if n.op_type == "Identity"))
    return changed


def obstacle(node: NodeProto) -> str:
    """Why a linear model or an ensemble cannot be imported; empty if it can, or is none."""
    if node.domain != DOMAIN or node.op_type not in _EXPANSIONS:
        return ""
    given = attributes_of(node)
    if _transform(given) not in TRANSFORMS:
        return f"its post_transform is {_transform(given)}"
    if (aggregate := given.get("aggregate_function", "SUM")) not in AGGREGATES:
        return f"its aggregate_function is {aggregate}"
    if compared := {*EQUALITIES} & {*given.get("nodes_modes", ())}:
        return f"it has nodes of mode {', '.join(sorted(compared))}"
    if node.op_type == "LinearClassifier" and len(_labels(given)) != _rows(given):
        return f"it has {_rows(given)} rows of weights for {len(_labels(given))} classes"
    if any(name.endswith("_as_tensor") for name in given):
        return "its numbers are doubles"
    return ""


# --- linear models ------------------------------------------------------------------------------
def _linear_classifier(node: NodeProto) -> GraphProto:
    given = attributes_of(node)
    body = _Body()
    scores = body.linear(node, given, _rows(given))
    transformed = body.transform(scores, _transform(given))
    return body.graph(body.chosen(scores, given), transformed)


def _linear_regressor(node: NodeProto) -> GraphProto | None:
    given = attributes_of(node)
    body = _Body()
    scores = body.linear(node, given, int(given.get("targets", 1)))
    return body.graph(body.transform(scores, _transform(given)))


def _rows(given: Mapping[str, Any]) -> int:
    return len(given.get("intercepts", ())) or len(_labels(given))


# --- trees --------------------------------------------------------------------------------------
def _tree_regressor(node: NodeProto) -> GraphProto | None:
    given = attributes_of(node)
    transform = _transform(given)
    if transform == "NONE":
        return None
    body = _Body()
    plain = {k: v for k, v in given.items() if k != "post_transform"}
    scores = body.trees(node, plain)
    return body.graph(body.transform(scores, transform))


def _tree_classifier(node: NodeProto) -> GraphProto:
    """By the ensemble of its scores. Two classes may share one score, that of the second.

    The first one's is its complement to 1 where no leaf is negative, else its negative, and of the
    transforms only LOGISTIC applies, to the latter two: so it is in onnxruntime.
    """
    given = attributes_of(node)
    classes, ids = _labels(given), given["class_ids"]
    shared = len(classes) == 2 and len(set(ids)) == 1
    plain = {k: v for k, v in given.items() if k.startswith("nodes_") or k == "base_values"}
    for name in ("nodeids", "treeids", "weights"):
        plain[f"target_{name}"] = given[f"class_{name}"]
    plain["target_ids"] = [0] * len(ids) if shared else list(ids)
    plain["n_targets"] = 1 if shared else len(classes)
    if shared and len(plain.get("base_values", ())) == 2:
        plain["base_values"] = [plain["base_values"][ids[0]]]
    body = _Body()
    scores = body.trees(node, plain)
    transform = _transform(given)
    decisive = scores
    if shared:
        opposite = decisive = body.node("Concat", body.node("Neg", scores), scores, axis=1)
        if min(given["class_weights"]) >= 0:
            other = body.node("Sub", body.constant(np.float32(1)), scores)
            decisive = body.node("Concat", other, scores, axis=1)
        scores, transform = (opposite, transform) if transform == "LOGISTIC" else (decisive, "NONE")
    return body.graph(body.chosen(decisive, given), body.transform(scores, transform))


def _zip_map(node: NodeProto) -> GraphProto:
    body = _Body()
    return body.graph(body.node("Identity", node.input[0]))


_EXPANSIONS: dict[str, Callable[[NodeProto], GraphProto | None]] = {
    "LinearClassifier": _linear_classifier,
    "LinearRegressor": _linear_regressor,
    "TreeEnsembleClassifier": _tree_classifier,
    "TreeEnsembleRegressor": _tree_regressor,
    "ZipMap": _zip_map,
}


# --- building -----------------------------------------------------------------------------------
class _Body(Body):
    """Of operators that all opsets have alike."""

    def trees(self, node: NodeProto, attributes: Mapping[str, Any]) -> str:
        """Scores [samples, targets] of an ensemble, under the node's own name."""
        return self.node(
            "TreeEnsembleRegressor", node.input[0], name=node.name, domain=DOMAIN, **attributes
        )

    def linear(self, node: NodeProto, given: Mapping[str, Any], rows: int) -> str:
        """Scores [samples, rows] of a linear model.

        Features are in units of their own, and get one scale when they are quantized. Powers of two
        move from weights to features, so that a step of each counts for about as much.
        """
        weights: Array = np.asarray(given["coefficients"], np.float32).reshape(rows, -1).T
        scale = _powers(np.abs(weights).max(axis=1, initial=0))
        x = self.node("Cast", node.input[0], to=TensorProto.FLOAT)
        x = self.node("Mul", x, self.constant(scale))
        scaled = self.constant(weights / scale[:, None])
        scores = self.node("MatMul", x, scaled, name=node.name)
        intercepts = np.asarray(given.get("intercepts", [0.0] * rows), np.float32)
        return self.node("Add", scores, self.constant(intercepts))

    def transform(self, scores: str, name: str) -> str:
        attributes: dict[str, Any] = {"axis": 1} if name == "SOFTMAX" else {}
        return self.node(TRANSFORMS[name], scores, **attributes) if TRANSFORMS[name] else scores

    def chosen(self, scores: str, given: Mapping[str, Any]) -> str:
        """The labels of the largest scores [samples]."""
        index = self.node("ArgMax", scores, axis=1, keepdims=0)
        labels = self.constant(np.asarray(_labels(given), np.int64))
        return self.node("Gather", labels, index)


def _powers(sizes: Array) -> Array:
    """The powers of two next to some numbers, 1 for 0."""
    exponents = np.rint(np.log2(np.where(sizes > 0, sizes, 1)))
    return np.asarray(np.exp2(np.clip(exponents, -60, 60)), np.float32)


def _transform(given: Mapping[str, Any]) -> str:
    return str(given.get("post_transform", "NONE"))


def _labels(given: Mapping[str, Any]) -> list[Any]:
    """Classes as numbers; those that are strings by their places."""
    strings = given.get("classlabels_strings", ())
    numbers = given.get("classlabels_ints", given.get("classlabels_int64s", ()))
    return list(numbers) if len(numbers) else list(range(len(strings)))


def _untype(draft: Draft, nodes: Iterator[NodeProto]) -> None:
    """Forget that results are dictionaries: they are what dictionaries were made of."""
    written = {name for node in nodes for name in node.output}
    for output in draft.graph.output:
        if output.name in written and output.type.WhichOneof("value") == "sequence_type":
            output.ClearField("type")
