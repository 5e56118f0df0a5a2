"""ONNX models -> IR: one operation for each node of the normalised model."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from onnx import ModelProto, numpy_helper

from lutra.frontends.onnx.attributes import attributes_of
from lutra.frontends.onnx.domains import is_fake_quantizer
from lutra.frontends.onnx.ends import make_ends_native
from lutra.frontends.onnx.fake_quantizers import lower_quantizer, quantized_by
from lutra.frontends.onnx.load import load
from lutra.frontends.onnx.normalise import normalise
from lutra.frontends.onnx.shapes import Shapes
from lutra.ir.core import Graph, Module, Value
from lutra.ir.ops import Constant, Onnx
from lutra.ir.ort import tensor_of
from lutra.ir.rewriter import Rewriter

Further = Callable[[Module], Iterable[tuple[str, str]]]
"""Says what else is in the way of a model of which nodes cannot be imported, as stand-ins of the
domain `support.REFUSED` do for them: names of nodes, and lines of text about them."""


def import_model(
    source: str | Path | bytes | ModelProto,
    *,
    shapes: Shapes | None = None,
    native: bool = False,
    further: Further | None = None,
) -> Module:
    """The graph `main` of an ONNX model (see `load` for sources and `normalise` for `shapes`).

    Inputs and results keep their names. Initializers become `constant`, nodes `onnx` operations
    whose `loc` is the node's name and whose types are those that ONNX's shape inference finds.
    Fake quantizers, which onnxruntime does not know, become `quantize` and `dequantize`.

    native: inputs and results of types that numpy lacks, as bfloat16, become those of types that
    it has, as float32.

    further: asked where nodes cannot be imported, for one error to tell all.

    Raises `ModelError` (F001 to F006) and, for `shapes`, `InputError` (I001, I004).
    """
    others = (lambda rest: further(lower(rest))) if further else None
    model = normalise(load(source), shapes=shapes, further=others)
    if native:
        make_ends_native(model)
    return lower(model)


def lower(model: ModelProto) -> Module:
    """The IR of a normalised model."""
    graph = Graph("main")
    rewriter = Rewriter(graph)
    values: dict[str, Value] = {}
    types = {v.name: v.type for v in (*model.graph.value_info, *model.graph.output)}
    for parameter in model.graph.input:
        values[parameter.name] = rewriter.input(parameter.name, tensor_of(parameter.type))
    constants = {tensor.name: tensor for tensor in model.graph.initializer}

    def place_constants(names: Iterable[str]) -> None:
        for name in names:
            if name in constants and name not in values:
                array = numpy_helper.to_array(constants[name])
                values[name] = rewriter.insert(Constant(array)).result

    for node in model.graph.node:
        if is_fake_quantizer(node):
            place_constants(node.input[:1])
            parameters = [numpy_helper.to_array(constants[name]) for name in node.input[1:]]
            x = values[node.input[0]]
            result = lower_quantizer(node, x, parameters)
            # Without origins behind the integers: the layer that reads them did not compute them.
            # Weights get none either; they belong to their layer.
            rewriter.insert(quantized_by(result), loc=() if x.constant else (node.name,))
            values[node.output[0]] = rewriter.insert(result.owner).result
            continue
        place_constants(node.input)
        op = Onnx(
            tuple(values[name] if name else None for name in node.input),
            node.op_type,
            tuple(tensor_of(types[name]) for name in node.output),
            attributes_of(node),
            node.domain,
        )
        rewriter.insert(op, loc=(node.name,))
        values.update(zip(node.output, op.results, strict=True))
    names = [output.name for output in model.graph.output]
    place_constants(names)
    rewriter.returns([values[name] for name in names], names)
    return Module([graph])
