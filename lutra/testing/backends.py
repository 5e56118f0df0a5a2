"""One circuit on several backends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lutra.backends import registry
from lutra.ir.core import Graph, Module
from lutra.ir.parser import parse_module
from lutra.ir.samples import every_input, run_all, samples
from lutra.ir.types import Array


def check_backends(
    circuit: str | Graph | Module,
    inputs: Sequence[Array] | None = None,
    backends: Sequence[str] = ("numpy", "onnx"),
    *,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    count: int = 16,
) -> None:
    """Check that backends compute what the operations' own meaning is, bit for bit.

    circuit: IR text, an integer graph, or a partitioned module.
    inputs: arrays (samples, *shape), in order; else every input where there are no more than
        `count`, or as many random ones. Samples that leave an assumed range are left out.
    backends: their names. `concrete` generates keys and really encrypts: take few bits and samples.
    options: of the backends' `emit`, by name of backend. Where look-ups err, or rounding is
        approximate, a backend may differ: see its options, such as `p_error`.

    Raises AssertionError; what the backends raise.
    """
    graph = _graph(circuit)
    if inputs is None:
        inputs = every_input(graph, count) or samples(graph, count)
    results, kept = run_all(graph, inputs)
    if not kept.any():
        return
    inputs = [array[kept] for array in inputs]
    for name in backends:
        executable = registry.find(name).emit(graph, **(options or {}).get(name, {}))
        found = executable.run(*inputs)
        assert len(found) == len(graph.outputs), f"backend {name!r} gives {len(found)} results"
        for label, value, array in zip(graph.output_names, graph.outputs, found, strict=True):
            np.testing.assert_array_equal(
                array,
                np.broadcast_to(results[value], (len(kept), *value.shape))[kept],
                err_msg=f"backend {name!r} differs at {label!r}: {value.owner!r}",
            )


def _graph(circuit: str | Graph | Module) -> Graph:
    module = parse_module(circuit) if isinstance(circuit, str) else circuit
    if isinstance(module, Module):
        return module.encrypted
    return module
