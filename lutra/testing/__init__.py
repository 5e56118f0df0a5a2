"""For authors of passes, operations and backends: what Lutra's own tests are made of.

check_pass      two texts, before and after a pipeline, and all that must hold between them
PassFile        the same as a file, which may be an example for a reader as well
check_graph     text, ranges and decompositions of what a graph is made of
check_backends  one circuit on several backends
check_program   all properties that hold for every program (`lutra.testing.properties`)
float_graphs    random networks,
quantized_graphs  random graphs with floats at both ends, and
integer_graphs  random circuits: strategies for hypothesis, which the package needs for these
                and for `lutra.testing.hunt` alone
samples, every_input  inputs for a graph

A check that fails raises AssertionError, or the error of what went wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lutra.ir.samples import every_input, samples
from lutra.testing.backends import check_backends
from lutra.testing.checks import check_graph, check_pass, full_text
from lutra.testing.examples import PassFile
from lutra.testing.properties import check_program

if TYPE_CHECKING:
    from lutra.testing.graphs import INTEGER_OPS, integer_graphs, quantized_graphs
    from lutra.testing.layers import float_graphs

__all__ = [
    "INTEGER_OPS",
    "PassFile",
    "check_backends",
    "check_graph",
    "check_pass",
    "check_program",
    "every_input",
    "float_graphs",
    "full_text",
    "integer_graphs",
    "quantized_graphs",
    "samples",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lutra.testing import graphs, layers

    return getattr(layers if name == "float_graphs" else graphs, name)
