"""Trees by comparisons, ways and sums: on grids that meet all thresholds, exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lutra
from lutra.ir.core import Graph, Module
from lutra.ir.interpreter import evaluate
from lutra.ir.ops import Lookup, Onnx
from lutra.ir.rewriter import Rewriter
from lutra.ir.types import Array, Tensor
from lutra.passes import Pipeline
from lutra.passes.trees import Grid, Leaf, read_trees, thresholds
from tree_models import FEATURES, MODES, ensemble, inputs


def module_of(attributes: dict[str, Any]) -> Module:
    graph = Graph("main")
    rewriter = Rewriter(graph)
    x = rewriter.input("x", Tensor((1, FEATURES)))
    types = (Tensor((1, attributes["n_targets"])),)
    op = Onnx((x,), "TreeEnsembleRegressor", types, attributes, "ai.onnx.ml")
    y = rewriter.insert(op, loc=("trees",)).result
    rewriter.returns([y], ["y"])
    return Module([graph])


def lowered(attributes: dict[str, Any], bits: int) -> Module:
    module = module_of(attributes)
    Pipeline.parse(f"lower-trees{{bits={bits}}}").execute(module)
    return module


def outputs(module: Module, x: Array) -> Array:
    return evaluate(module.main, [x[:, None]])[0]


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    depth=st.integers(1, 5),
    trees=st.integers(1, 4),
    targets=st.integers(1, 3),
    average=st.booleans(),
)
def test_it_is_exact_beside_the_thresholds(
    seed: int, depth: int, trees: int, targets: int, average: bool
) -> None:
    """Thresholds are multiples of 1/4 within -2 and 2, which 6 bits meet up to 4 / 62 / 2."""
    attributes = ensemble(seed, trees, depth, targets, steps=8, modes=("BRANCH_LEQ", "BRANCH_GT"))
    attributes["aggregate_function"] = "AVERAGE" if average else "SUM"
    x = inputs(100, seed=seed) + np.float32(1 / 16)
    np.testing.assert_allclose(
        outputs(lowered(attributes, 6), x), outputs(module_of(attributes), x), atol=1e-5
    )


@pytest.mark.parametrize("modes", [MODES[::2], MODES[1::2]], ids=["with", "without"])
def test_values_on_thresholds(modes: tuple[str, ...]) -> None:
    """Two thresholds of a feature are met exactly."""
    tried = 0
    for seed in range(60):
        attributes = ensemble(seed, trees=2, depth=2, modes=modes)
        found = thresholds(read_trees(attributes) or [])
        if max(map(len, found.values())) <= 2:
            x, tried = inputs(200, seed=seed), tried + 1
            np.testing.assert_allclose(
                outputs(lowered(attributes, 4), x), outputs(module_of(attributes), x), atol=1e-6
            )
    assert tried > 10


@pytest.mark.parametrize("bits", [1, 2, 3, 5, 8])
def test_grids_are_near(bits: int) -> None:
    rng = np.random.default_rng(bits)
    for count in (1, 2, 3, 10, 40):
        values = set(rng.uniform(-3, 50, count).tolist())
        grid = Grid.fit(values, bits)
        assert grid.bits <= bits
        spread = max(values) - min(values)
        places = [grid.place(value) for value in values]
        off = [abs(grid.first + grid.step * p - v) for p, v in zip(places, values, strict=True)]
        if count == 1 or (count == 2 and bits > 1):
            assert max(off) <= spread * 1e-6
        elif bits > 1:
            assert max(off) <= spread / (2**bits - 2) / 2 * 1.001


def circuit_of(attributes: dict[str, Any], bits: int) -> Graph:
    return lutra.compile(
        module_of(attributes), inputs(200), f"default{{rounding={bits}}}"
    ).module.circuit


def test_a_tree_of_n_leaves_looks_up_n_minus_2_ways_at_most() -> None:
    for seed in range(5):
        attributes = ensemble(seed, trees=1, depth=4)
        (tree,) = read_trees(attributes) or []
        stack, leaves = [tree], 0
        while stack:
            node = stack.pop()
            leaves += isinstance(node, Leaf)
            stack += [] if isinstance(node, Leaf) else [node.below, node.above]
        found = [op for op in circuit_of(attributes, 5).ops if isinstance(op, Lookup)]
        ways = [op for op in found if any("ways" in name for name in op.loc)]
        assert sum(int(np.prod(op.result.shape)) for op in ways) <= max(0, leaves - 2)


def test_equal_trees_are_computed_once() -> None:
    once, twice = ensemble(3, trees=1), ensemble(3, trees=1)
    for name, column in once.items():
        if name != "n_targets":
            shift = 1 if name.endswith("treeids") else 0
            twice[name] = column + [value + shift for value in column] if shift else column * 2
    counts = [
        sum(int(np.prod(op.result.shape)) for op in circuit_of(a, 5).of(Lookup))
        for a in (once, twice)
    ]
    assert counts[0] == counts[1] > 0
    x = inputs(50)
    np.testing.assert_allclose(
        outputs(lowered(twice, 6), x), 2 * outputs(lowered(once, 6), x), atol=1e-5
    )


def test_look_ups_read_few_bits() -> None:
    circuit = circuit_of(ensemble(7, trees=6), 4)
    widths = [op.x.int_type.bits for op in circuit.of(Lookup)]
    assert max(widths) <= 4
    ways = [op for op in circuit.of(Lookup) if any("ways" in name for name in op.loc)]
    assert {op.x.int_type.bits for op in ways} == {2}


@pytest.mark.encrypted
def test_encrypted() -> None:
    model = lutra.compile(
        module_of(ensemble(5, trees=2, depth=2)), inputs(200), "narrow{inputs=3}", p_error=1e-7
    )
    assert model.pbs_count
    x = inputs(2, seed=9)
    np.testing.assert_array_equal(
        np.asarray(model.predict(x, mode="encrypt")), np.asarray(model.predict(x))
    )
