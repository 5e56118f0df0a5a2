"""Random well-typed graphs for hypothesis, and inputs to run them on."""

from lutra.ir.samples import every_input, run_all, samples
from lutra.testing.graphs import (
    INTEGER_OPS,
    MAX_BITS,
    MAX_SIZE,
    SHAPES,
    arrays,
    integer_graphs,
    parts_of,
    quantized_graphs,
    ranges,
)

__all__ = [
    "INTEGER_OPS",
    "MAX_BITS",
    "MAX_SIZE",
    "SHAPES",
    "arrays",
    "every_input",
    "integer_graphs",
    "parts_of",
    "quantized_graphs",
    "ranges",
    "run_all",
    "samples",
]
