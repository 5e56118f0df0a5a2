"""Recipes and models in onnx-ir, and the passes of onnx-ir and onnxscript that clean them up."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import onnx
import onnx_ir as ir
import onnxscript.optimizer
import onnxscript.rewriter
from onnx import helper, numpy_helper
from onnx_ir.passes import common

from benchmarks.measure import Task
from benchmarks.synthetic import SHAPE, TABLE, WEIGHTS, Recipe
from lutra.ir.ort import IR_VERSION, OPSET
from lutra.ir.types import Array

NAME = "onnx-ir, onnxscript"
INTEGER = {
    "add": "Add",
    "sub": "Sub",
    "max": "Max",
    "neg": "Neg",
    "add_clear": "Add",
    "mul_clear": "Mul",
    "lookup": "Gather",
}


def build(recipe: Recipe) -> onnx.ModelProto:
    """The steps as ONNX nodes; integers are int64, and a look-up gathers from its table."""
    integer = recipe[-1].kind in INTEGER
    weights = dict(WEIGHTS) if not integer else {}
    dtype = onnx.TensorProto.INT64 if integer else onnx.TensorProto.FLOAT
    constants: dict[str, onnx.TensorProto] = {}

    def constant(name: str, array: Array) -> str:
        constants.setdefault(name, numpy_helper.from_array(array, name))
        return name

    nodes = []
    for index, step in enumerate(recipe[1:], 1):
        reads = [f"v{i}" for i in step.operands]
        if step.kind == "lookup":
            reads = [constant("table", TABLE), *reads]
        elif step.kind in ("add_clear", "mul_clear"):
            reads.append(constant(f"n{step.number}".replace("-", "m"), np.array(step.number)))
        elif step.kind in weights:
            name = f"{step.kind}{step.number}"
            reads.append(constant(name, weights[step.kind][step.number]))
        op_type = INTEGER.get(step.kind, step.kind[0].upper() + step.kind[1:])
        nodes.append(helper.make_node(op_type, reads, [f"v{index}"], f"/node_{index}"))
    outputs = [f"v{len(recipe) - 2}", f"v{len(recipe) - 1}"]
    infos = [helper.make_tensor_value_info(name, dtype, SHAPE) for name in ("v0", *outputs)]
    graph = helper.make_graph(nodes, "main", infos[:1], infos[1:], list(constants.values()))
    opset = helper.make_opsetid("", OPSET)
    return helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)


def tasks(model: onnx.ModelProto, *, text: bool = True) -> Iterator[Task[ir.Model]]:
    """`text`: also parse and print, by onnx's own C++ code, and check with onnx's checker."""

    def fresh() -> ir.Model:
        return ir.from_proto(model)

    def apply(item: ir.passes.PassBase) -> Callable[[ir.Model], object]:
        return lambda model: item(model)

    if text:
        printed = onnx.printer.to_text(model)
        yield Task("parse", fresh, lambda _: ir.from_onnx_text(printed))
        yield Task("print", fresh, lambda model: onnx.printer.to_text(ir.to_proto(model)))
        yield Task("verify", fresh, apply(common.CheckerPass()))
    yield Task("clone", fresh, lambda model: model.clone())
    rules = onnxscript.rewriter._DEFAULT_REWRITE_RULES
    yield Task("canonicalize", fresh, apply(onnxscript.rewriter.RewritePass(rules)))
    yield Task("fold", fresh, lambda model: onnxscript.optimizer.fold_constants(model))
    yield Task("optimize", fresh, lambda model: onnxscript.optimizer.optimize(model))
    yield Task("cse", fresh, apply(common.CommonSubexpressionEliminationPass()))
    yield Task("dce", fresh, apply(common.RemoveUnusedNodesPass()))
