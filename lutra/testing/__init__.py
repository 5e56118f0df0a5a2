"""For authors of passes, operations and backends: what Lutra's own tests are made of.

check_pass      two texts, before and after a pipeline, and all that must hold between them
PassFile        the same as a file, which may be an example for a reader as well
check_graph     text, ranges and decompositions of what a graph is made of
check_backends  one circuit on several backends
integer_graphs  random circuits, and
quantized_graphs  random graphs with floats at both ends: strategies for hypothesis, which the
                package needs for these two alone
samples, every_input  inputs for a graph

A check that fails raises AssertionError, or the error of what went wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lutra.ir.samples import every_input, samples
from lutra.testing.backends import check_backends
from lutra.testing.checks import check_graph, check_pass, full_text
from lutra.testing.examples import PassFile

if TYPE_CHECKING:
    from lutra.testing.graphs import INTEGER_OPS, integer_graphs, quantized_graphs

__all__ = [
    "INTEGER_OPS",
    "PassFile",
    "check_backends",
    "check_graph",
    "check_pass",
    "every_input",
    "full_text",
    "integer_graphs",
    "quantized_graphs",
    "samples",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lutra.testing import graphs

    return getattr(graphs, name)
