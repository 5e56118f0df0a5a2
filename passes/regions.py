"""Float regions: what stands between encrypted integers and the next quantization."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lutra.ir.core import Graph, Op, Value
from lutra.ir.errors import PipelineError
from lutra.ir.ops import (
    Add,
    AddClear,
    Assume,
    Conv,
    Dequantize,
    MatMul,
    Movement,
    MulClear,
    Observe,
    Onnx,
    Quantize,
    Round,
)
from lutra.ir.rewriter import Rewriter
from lutra.ir.traits import Trait, trait
from lutra.passes.affine import dequantized
from lutra.passes.flow import is_constant
from lutra.passes.rules_linear import constant, node


@dataclass(frozen=True)
class Region:
    """The operations that compute `sink` from the encrypted integers of `source`, elementwise."""

    source: Dequantize
    ops: tuple[Op, ...]
    sink: Quantize


def regions(graph: Graph) -> Iterator[Region]:
    """All regions between encrypted integers and a quantize, in the order of their sinks.

    Quantizations of what the client computes from the inputs, or what is clear, are none. Error
    P005 where a region reads several encrypted values, or holds operations that are not
    elementwise.
    """
    for sink in [op for op in graph.of(Quantize) if not op.result.clear]:
        region = _region(sink)
        if region is not None:
            yield region


def _reads(sink: Quantize) -> tuple[list[Dequantize], dict[Op, None]]:
    """The encrypted values that a quantization depends on, and the operations between."""
    seen: dict[Op, None] = {}
    sources: dict[Dequantize, None] = {}
    stack = [sink.x]
    while stack:
        value = stack.pop()
        source = dequantized(value)
        if source is not None:
            sources[source] = None
        elif value.owner not in seen and not is_constant(value):
            seen[value.owner] = None
            stack += value.owner.operands
    return list(sources), seen


def _region(sink: Quantize) -> Region | None:
    sources, seen = _reads(sink)
    if not sources:
        return None
    obstacles = [op for op in seen if not _is_elementwise(op)]
    if len(sources) > 1 or obstacles:
        culprits = obstacles or sources
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


def merge_sources(graph: Graph, rewriter: Rewriter) -> None:
    """Let every region dequantize the integers that it starts from once.

    dequantize(q, s, z, b), dequantize(q, t, y, c)  ->  x = dequantize(q, s, z, b), x * k + d
    """
    for sink in list(graph.of(Quantize)):
        sources, ops = _reads(sink)
        for q in dict.fromkeys(source.q for source in sources):
            same = [op for op in q.users if isinstance(op, Dequantize) and op in sources]
            if len(same) > 1:
                _merge(same, [*ops, sink], rewriter)


def _merge(sources: Sequence[Dequantize], readers: Sequence[Op], rewriter: Rewriter) -> None:
    """Let `readers` read one dequantization of their integers, and functions of it."""
    invertible = [source for source in sources if source.scale.all()]
    first = (invertible or sources)[0]
    scale = np.where(first.scale == 0, 1, first.scale)
    base = first.copy({}, scale=scale)
    rewriter.insert_after(first.q, base)
    for source in sources:
        x = base.result
        if source is not first or not invertible:
            factor = source.scale.astype(np.float64) / scale
            term = source.offset - factor * base.offset
            term = term + source.scale * (base.zero_point - source.zero_point).astype(np.float64)
            x = node("Mul", x, constant(factor, np.float32))
            if term.any():
                x = node("Add", x, constant(term, np.float32))
            rewriter.insert(x.owner, before=source, loc=source.loc)
        rewriter.replace_uses(source.result, x, only=readers)


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
    rank = len(source.q.shape)
    axes = {
        rank - 1 - i
        for array in (source.scale, source.zero_point, source.offset)
        for i, size in enumerate(reversed(array.shape))
        if size > 1
    }
    return tuple(sorted(axes | output_axes(source.q)))


def output_axes(value: Value, *, moved: bool = False) -> set[int]:
    """Axes of the output channels of the linear operations whose sums a value is.

    moved: look through movements, too, and take them to keep the axes, as those do that leave
        elements out.
    """
    axes: set[int] = set()
    rank = len(value.shape)
    stack = [value]
    while stack:
        op = stack.pop().owner
        if isinstance(op, Conv):
            axes.add(1)
        elif isinstance(op, MatMul):
            axes.add(rank - 1)
        elif isinstance(op, Add | AddClear | MulClear | Assume | Round):
            stack += [operand for operand in op.operands if operand.shape == value.shape or moved]
        elif moved and isinstance(op, Movement) and len(op.x.shape) == rank:
            stack.append(op.x)
    return axes
