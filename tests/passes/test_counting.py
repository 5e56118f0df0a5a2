"""Calibration data counted in shards."""

from concurrent.futures import Executor, ThreadPoolExecutor

import numpy as np
import pytest

import lutra
from lutra.artifact import packed
from lutra.ir.errors import InputError
from lutra.ir.parser import parse_graph
from lutra.passes import Context
from lutra.passes.base import BATCH
from lutra.passes.counting import SHARDS, histograms
from lutra.pool import Pool
from small_models import mlp, points

NET = """
%x = input : float32[1x2]
%0 = onnx.Relu %x : float32[1x2]  loc "/a"
%1 = onnx.Log %0 : float32[1x2]  loc "/b"
return %1
"""


@pytest.mark.parametrize("samples", [1, BATCH + 1, SHARDS * BATCH + 1])
@pytest.mark.parametrize("extremes_only", [True, False])
def test_shards_count_the_same(samples: int, extremes_only: bool) -> None:
    graph = parse_graph(NET)
    x, relu, log, _ = graph.ops
    groups = [[x.results[0], relu.results[0]], [log.results[0]]]
    data = {"x": np.random.default_rng(0).uniform(0.1, 5, (samples, 1, 2)).astype(np.float32)}
    seen: list[tuple[str, int, int]] = []
    here = histograms(graph, groups, extremes_only, Context(data), "calibrate")
    with ThreadPoolExecutor(2) as threads:
        context = Context(data, executor=threads, progress=lambda *event: seen.append(event))
        apart = histograms(graph, groups, extremes_only, context, "calibrate")
    for one, other in zip(here, apart, strict=True):
        assert (one.extremes.lo, one.extremes.hi) == (other.extremes.lo, other.extremes.hi)
        np.testing.assert_array_equal(one.counts, other.counts)
        np.testing.assert_array_equal(one.origin, other.origin)
    assert seen[-1][1] == seen[-1][2] <= SHARDS


@pytest.mark.parametrize("pipeline", ["default{weights=4,rounding=4}", "wide{method=minmax}"])
def test_models_are_the_same(pipeline: str) -> None:
    def compiled(executor: Executor | None) -> bytes:
        model = lutra.compile(mlp(), points(), pipeline, backend="numpy", executor=executor)
        return packed(model)

    assert compiled(Pool(1)) == compiled(None)


def test_errors_come_back() -> None:
    graph = parse_graph(NET)
    values = [[op.results[0]] for op in list(graph.ops)[:3]]
    context = Context({"x": np.full((1, 1, 2), -1, np.float32)}, executor=Pool(1))
    with pytest.raises(InputError, match="calibration makes 2 NaN or infinite") as caught:
        histograms(graph, values, True, context, "calibrate")
    assert (caught.value.code, caught.value.nodes) == ("C002", ("/b",))
