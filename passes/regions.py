"""Float regions: what stands between encrypted integers and the next quantization."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lutra.ir.core import Graph, Op, Value
from lutra.ir.errors import PipelineError
from lutra.ir.ops import Dequantize, Observe, Onnx, Quantize
from lutra.ir.rewriter import Rewriter
from lutra.ir.traits import Trait, trait
from lutra.passes.affine import dequantized
from lutra.passes.flow import is_clear


@dataclass(frozen=True)
class Region:
    """The operations that compute `sink` from the encrypted integers of `source`, elementwise."""

    source: Dequantize
    ops: tuple[Op, ...]
    sink: Quantize


def regions(graph: Graph) -> Iterator[Region]:
    """All regions between encrypted integers and a quantize, in the order of their sinks.

    Quantizations of what the client computes from the inputs are none. Error P005 where a region
    reads several encrypted values, or holds operations that are not elementwise.
    """
    for sink in list(graph.of(Quantize)):
        region = _region(sink)
        if region is not None:
            yield region


def _region(sink: Quantize) -> Region | None:
    seen: dict[Op, None] = {}
    sources: dict[Dequantize, None] = {}
    stack = [sink.x]
    while stack:
        value = stack.pop()
        source = dequantized(value)
        if source is not None:
            sources[source] = None
        elif value.owner not in seen and not is_clear(value):
            seen[value.owner] = None
            stack += value.owner.operands
    if not sources:
        return None
    obstacles = [op for op in seen if not _is_elementwise(op)]
    if len(sources) > 1 or obstacles:
        culprits = obstacles or list(sources)
        raise PipelineError(
            "P005",
            "a float region cannot become one table look-up: "
            + (
                "it is not elementwise"
                if obstacles
                else f"it depends on {len(sources)} encrypted values"
            ),
            nodes=sink.loc,
            lines=[repr(op) for op in [*culprits, sink]],
            help="run `canonicalize` and `lower-quantized` before, or quantize within the region",
        )
    (source,) = sources
    order = [op for op in _between(source, sink) if op in seen]
    return Region(source, tuple(order), sink)


def _between(first: Op, last: Op) -> Iterator[Op]:
    graph = last.graph
    assert graph is not None
    ops = graph.ops
    for op in ops:
        if op is first:
            break
    for op in ops:
        if op is last:
            return
        yield op


def _is_elementwise(op: Op) -> bool:
    return isinstance(op, Observe) or (isinstance(op, Onnx) and trait(op) is Trait.ELEMENTWISE)


def read_instead(region: Region, source: Dequantize, rewriter: Rewriter) -> None:
    """Let a region read `source`, which is in the graph or detached, in the place of its own.

    The region's operations are copied: others, such as the client's part, may share them.
    """
    if source.graph is None:
        rewriter.insert(source, before=region.sink, loc=region.source.loc)
    mapping = {region.source.result: source.result}
    for op in region.ops:
        twin = rewriter.insert(op.copy(mapping), before=region.sink)
        mapping.update(zip(op.results, twin.results, strict=True))
    rewriter.replace_uses(region.sink.x, mapping[region.sink.x], only=[region.sink])


def look_up_sources(graph: Graph) -> list[Dequantize]:
    """The dequantized values that regions start from: future inputs of look-ups, each once."""
    return list(dict.fromkeys(region.source for region in regions(graph)))


def channel_axes(source: Dequantize) -> tuple[int, ...]:
    """Axes along which the elements of a look-up's input deserve ranges and tables of their own.

    The output channels of the linear operation behind it, and every axis along which the
    dequantization varies already.
    """
    from lutra.ir.ops import Add, AddClear, Assume, Conv, MatMul, MulClear

    rank = len(source.q.shape)
    axes = {
        rank - 1 - i
        for array in (source.scale, source.zero_point, source.offset)
        for i, size in enumerate(reversed(array.shape))
        if size > 1
    }
    stack: list[Value] = [source.q]
    while stack:
        op = stack.pop().owner
        if isinstance(op, Conv):
            axes.add(1)
        elif isinstance(op, MatMul):
            axes.add(rank - 1)
        elif isinstance(op, Add | AddClear | MulClear | Assume):
            stack += [value for value in op.operands if value.shape == source.q.shape]
    return tuple(sorted(axes))
