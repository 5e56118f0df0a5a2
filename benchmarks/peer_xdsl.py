"""The integer recipes in xDSL: `arith` operations in one function, and xDSL's clean-up passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import StringIO

from xdsl.context import Context
from xdsl.dialects import arith, builtin, func
from xdsl.ir import Block, Operation, Region, SSAValue
from xdsl.parser import Parser
from xdsl.passes import ModulePass
from xdsl.printer import Printer
from xdsl.transforms.canonicalize import CanonicalizePass
from xdsl.transforms.common_subexpression_elimination import CommonSubexpressionElimination
from xdsl.transforms.dead_code_elimination import DeadCodeElimination

from benchmarks.measure import Task
from benchmarks.synthetic import Recipe

BINARY: dict[str, type[Operation]] = {
    "add": arith.AddiOp,
    "sub": arith.SubiOp,
    "max": arith.MaxSIOp,
    "add_clear": arith.AddiOp,
    "mul_clear": arith.MuliOp,
    "lookup": arith.AndIOp,
}


def build(recipe: Recipe) -> builtin.ModuleOp:
    """The steps on i64 scalars. A look-up becomes a mask, which narrows a range as well."""
    block = Block(arg_types=[builtin.i64])
    values: list[SSAValue] = [block.args[0]]
    constants: dict[int, SSAValue] = {}

    def constant(number: int) -> SSAValue:
        if number not in constants:
            constants[number] = _add(block, arith.ConstantOp.from_int_and_width(number, 64))
        return constants[number]

    for step in recipe[1:]:
        reads = [values[i] for i in step.operands]
        if step.kind == "neg":
            reads = [constant(0), *reads]
        elif len(reads) == 1:
            reads = [*reads, constant(7 if step.kind == "lookup" else step.number)]
        kind = arith.SubiOp if step.kind == "neg" else BINARY[step.kind]
        values.append(_add(block, kind.create(operands=reads, result_types=[builtin.i64])))
    block.add_op(func.ReturnOp(*values[-2:]))
    main = func.FuncOp("main", ((builtin.i64,), (builtin.i64,) * 2), Region(block))
    return builtin.ModuleOp([main])


def _add(block: Block, op: Operation) -> SSAValue:
    block.add_op(op)
    return op.results[0]


def tasks(recipe: Recipe) -> Iterator[Task[builtin.ModuleOp]]:
    context = Context()
    for dialect in (arith.Arith, builtin.Builtin, func.Func):
        context.load_dialect(dialect)
    module = build(recipe)
    module.verify()
    text = str(module)

    def apply(item: ModulePass) -> Callable[[builtin.ModuleOp], object]:
        return lambda module: item.apply(context, module)

    def same() -> builtin.ModuleOp:
        return module

    yield Task("parse", same, lambda _: Parser(context, text).parse_module())
    yield Task("print", same, lambda module: Printer(StringIO()).print_op(module))
    yield Task("verify", same, lambda module: module.verify())
    yield Task("clone", same, lambda module: module.clone())
    yield Task("canonicalize", module.clone, apply(CanonicalizePass()))
    yield Task("cse", module.clone, apply(CommonSubexpressionElimination()))
    yield Task("dce", module.clone, apply(DeadCodeElimination()))
