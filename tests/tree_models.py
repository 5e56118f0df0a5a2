"""Random tree ensembles, as attributes of ai.onnx.ml's TreeEnsembleRegressor."""

from __future__ import annotations

from typing import Any

import numpy as np

from lutra.ir.types import Array

FEATURES = 4
MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GT", "BRANCH_GTE")


def inputs(samples: int, features: int = FEATURES, seed: int = 0) -> Array:
    """Multiples of 1/8 within -2 and 2, which meet thresholds often."""
    steps = np.random.default_rng(seed).integers(-16, 17, (samples, features))
    return np.asarray(steps / 8, np.float32)


def ensemble(
    seed: int = 0,
    trees: int = 2,
    depth: int = 3,
    targets: int = 1,
    positive: bool = False,
    steps: int = 16,
    modes: tuple[str, ...] = ("BRANCH_LEQ",),
) -> dict[str, Any]:
    """Trees of some depth. Thresholds are multiples of 2/steps; leaf values of 1/64."""
    rng = np.random.default_rng(seed)
    nodes: dict[str, list[Any]] = {
        name: []
        for name in (
            "treeids", "nodeids", "featureids", "modes", "values", "truenodeids", "falsenodeids"
        )
    }  # fmt: skip
    leaves: dict[str, list[Any]] = {n: [] for n in ("treeids", "nodeids", "ids", "weights")}

    def grow(tree: int, left: int) -> int:
        """Write a node and what lies below it; returns its number."""
        number = sum(1 for t in nodes["treeids"] if t == tree)
        branches = left == depth or (left > 0 and rng.random() < 0.8)
        threshold = 2 * int(rng.integers(-steps, steps + 1)) / steps if branches else 0.0
        mode = str(rng.choice(modes)) if branches else "LEAF"
        row = (tree, number, int(rng.integers(FEATURES)), mode, threshold, 0, 0)
        for column, value in zip(nodes.values(), row, strict=True):
            column.append(value)
        here = len(nodes["treeids"]) - 1
        if branches:
            nodes["truenodeids"][here] = grow(tree, left - 1)
            nodes["falsenodeids"][here] = grow(tree, left - 1)
            return number
        for target in range(targets):
            weight = int(rng.integers(0 if positive else -64, 65)) / 64
            for column, value in zip(leaves.values(), (tree, number, target, weight), strict=True):
                column.append(value)
        return number

    for tree in range(trees):
        grow(tree, depth)
    return {
        **{f"nodes_{name}": column for name, column in nodes.items()},
        **{f"target_{name}": column for name, column in leaves.items()},
        "n_targets": targets,
    }
