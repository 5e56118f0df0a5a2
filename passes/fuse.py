"""Pass `fuse`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lutra.ir import ort
from lutra.ir.core import Graph, Value
from lutra.ir.errors import WAYS_OUT, BackendError
from lutra.ir.ops import Constant, Lookup, Quantize
from lutra.ir.rewriter import Rewriter, merge
from lutra.ir.types import Array, Ints, Shape
from lutra.passes.affine import clear_value
from lutra.passes.base import Context, Exact, Pass
from lutra.passes.dce import eliminate_dead_code
from lutra.passes.flow import is_constant
from lutra.passes.regions import Region, regions
from lutra.passes.rules_quantized import quantize_constant


@dataclass(frozen=True)
class FuseRegions(Pass):
    """Turn every float region between encrypted integers into one table look-up.

    quantize(f(dequantize(q)))  ->  lookup(q), whose table is f run by onnxruntime on every value
    that q's bits can hold. Where constants of f or of the quantization differ between channels
    or elements, so do the tables. Of constants, f gives a constant.
    """

    name = "fuse"
    contract = Exact
    requires = frozenset({"regions"})
    provides = frozenset({"tables"})
    removes = frozenset({"regions"})

    def run(self, graph: Graph, rewriter: Rewriter, context: Context) -> None:
        for sink in list(graph.of(Quantize)):
            quantize_constant(sink, rewriter)
        for region in list(regions(graph)):
            q = region.source.q
            type = q.int_type
            loc = q.owner.loc
            for op in (*region.ops, region.sink):
                loc = merge(loc, op.loc)
            if type.bits > context.lookup_bits:
                raise BackendError(
                    "B003",
                    f"a table look-up has a {type.bits}-bit input; "
                    f"backend `{context.backend}` allows {context.lookup_bits}",
                    nodes=loc,
                    lines=[repr(q.owner)],
                    help=WAYS_OUT["B003"],
                )
            base = -(1 << (type.bits - 1)) if type.signed else 0
            table = self.table(region, base + np.arange(1 << type.bits), graph, context)
            look_up = rewriter.insert(Lookup(q, base, table), before=region.sink, loc=loc)
            rewriter.replace(region.sink, look_up)
        eliminate_dead_code(graph, rewriter)

    def table(self, region: Region, inputs: Ints, graph: Graph, context: Context) -> Ints:
        """The look-up's table [*channels, entries], for all values of its input in order."""
        return quantized_entries(region, float_entries(region, inputs))


def float_entries(region: Region, inputs: Ints) -> Array:
    """The region's float results [*channels, entries] before its quantization, for all inputs."""
    channels = _channels(region)
    q = np.broadcast_to(inputs.reshape(-1, *(1,) * len(channels)), (len(inputs), *channels))
    x = region.source.eval(q)
    if region.ops:
        x = _run(region, x)
    return np.moveaxis(np.nan_to_num(np.broadcast_to(x, q.shape), nan=0.0), 0, -1)


def quantized_entries(region: Region, entries: Array) -> Ints:
    """Float results [*channels, entries] as the integers that the region's quantization makes."""
    with np.errstate(invalid="ignore", over="ignore"):
        integers = region.sink.eval(np.moveaxis(entries, -1, 0))
    return np.asarray(np.moveaxis(integers, 0, -1))


def _channels(region: Region) -> Shape:
    """Shape of the region's constants together, with as many axes as the value itself."""
    rank = len(region.sink.x.shape)
    shapes = [(1,) * rank]
    for grid in (region.source, region.sink):
        shapes += [grid.scale.shape, grid.zero_point.shape]
    shapes.append(region.source.offset.shape)
    for op in region.ops:
        shapes += [value.shape for value in op.operands if is_constant(value)]
    return np.broadcast_shapes(*shapes)


def _run(region: Region, x: Array) -> Array:
    """The region's float operations on x, in onnxruntime."""
    reads = dict.fromkeys(v for op in region.ops for v in op.operands if is_constant(v))
    constants = [Constant(_tensor(value)) for value in reads]
    mapping = dict(zip(reads, (constant.result for constant in constants), strict=True))
    copies = []
    for op in region.ops:
        twin = op.copy(mapping)
        mapping.update(zip(op.results, twin.results, strict=True))
        copies.append(twin)
    source = region.source.result
    model = ort.model_of([*constants, *copies], [source], [mapping[region.sink.x]])
    return ort.Session(model, region.sink.loc).run([x])[0]


def _tensor(value: Value) -> Array:
    array = clear_value(value)
    assert array is not None  # is_constant(value) says so
    return array
