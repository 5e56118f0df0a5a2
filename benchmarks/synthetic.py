"""Random programs of any size, written down once and built in several frameworks.

A recipe is a list of steps that read earlier ones, most of them near, some far away. One step in
ten repeats another, one in ten is an identity (x + 0, x * 1), and some are never read: every
clean-up has something to do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np

from lutra.ir import ops
from lutra.ir.core import Graph, Op, Value
from lutra.ir.rewriter import Rewriter
from lutra.ir.types import Int, Ints, Tensor

NEAR = 20
"""Steps back within which most operands lie."""
SHAPE = (1, 4)
BITS = 4
"""Bits of the widest integers, and so of all tables' indices."""


@dataclass(frozen=True)
class Step:
    """kind: of `INTEGER` or `FLOAT`; operands: earlier steps, of which 0 is the input.

    number: the constant of a kind that has one; lo, hi: the range of an integer result.
    """

    kind: str
    operands: tuple[int, ...] = ()
    number: int = 0
    lo: int = 0
    hi: int = 0


Recipe = Sequence[Step]


def _operands(rng: Random, count: int, arity: int) -> tuple[int, ...]:
    """The last step, mostly, and another one: near, or once in twenty anywhere before."""

    def any_step() -> int:
        return rng.randrange(0 if rng.random() < 0.05 else max(0, count - NEAR), count)

    first = count - 1 if rng.random() < 0.95 else any_step()
    return (first, any_step())[:arity]


def _recipe(size: int, seed: int, draw: Callable[[Random, list[Step]], Step]) -> Recipe:
    """`size` steps behind the input, which is step 0."""
    rng = Random(seed)
    steps = [Step("input", lo=0, hi=7)]
    while len(steps) <= size:
        if len(steps) > NEAR and rng.random() < 0.1:
            steps.append(steps[-rng.randrange(1, NEAR)])
        else:
            steps.append(draw(rng, steps))
    return steps


# --- the integer level --------------------------------------------------------------------------
def _hull(*numbers: int) -> tuple[int, int]:
    return min(numbers), max(numbers)


_RANGES: dict[str, Callable[[int, Sequence[tuple[int, int]]], tuple[int, int]]] = {
    "add": lambda _, r: (r[0][0] + r[1][0], r[0][1] + r[1][1]),
    "sub": lambda _, r: (r[0][0] - r[1][1], r[0][1] - r[1][0]),
    "max": lambda _, r: (max(r[0][0], r[1][0]), max(r[0][1], r[1][1])),
    "neg": lambda _, r: (-r[0][1], -r[0][0]),
    "add_clear": lambda c, r: (r[0][0] + min(0, c), r[0][1] + max(0, c)),
    "mul_clear": lambda c, r: _hull(*r[0], c * r[0][0], c * r[0][1]),
    "lookup": lambda _, r: (0, 7),
}
_BINARY = ("add", "sub", "max")
_NUMBERS = {"add_clear": (0, 0, 1, 2, 3), "mul_clear": (1, 1, 2, -1)}


def integer_recipe(size: int, seed: int = 0) -> Recipe:
    """Sums, differences, maxima, clear terms and factors; a look-up wherever a range gets wide."""
    return _recipe(size, seed, _integer_step)


def _integer_step(rng: Random, steps: list[Step]) -> Step:
    kind = rng.choice(("add", "sub", "max", "neg", "add_clear", "add_clear", "mul_clear", "lookup"))
    operands = _operands(rng, len(steps), 2 if kind in _BINARY else 1)
    number = rng.choice(_NUMBERS.get(kind, (0,)))
    lo, hi = _RANGES[kind](number, [(steps[i].lo, steps[i].hi) for i in operands])
    if (hi - lo) >> BITS:
        return Step("lookup", operands[:1], lo=0, hi=7)
    return Step(kind, operands, number, lo, hi)


def lutra_integers(recipe: Recipe) -> Graph:
    """A circuit on values of shape [1, 4]. Every third constant differs by element."""

    def clear(number: int, neutral: int, index: int) -> Ints:
        return np.array([[neutral, number, neutral, number]] if index % 3 == 0 else number)

    def build(step: Step, reads: list[Value], index: int) -> Op:
        if step.kind == "add_clear":
            return ops.AddClear(reads[0], clear(step.number, 0, index))
        if step.kind == "mul_clear":
            return ops.MulClear(reads[0], clear(step.number, 1, index))
        if step.kind == "lookup":
            return ops.Lookup(reads[0], reads[0].int_type.min, TABLE)
        kinds: dict[str, type[Op]] = {
            "add": ops.Add,
            "sub": ops.Sub,
            "max": ops.Max,
            "neg": ops.Neg,
        }
        return kinds[step.kind](*reads)

    return _lutra(recipe, Int.of(SHAPE, 0, 7), build)


TABLE = np.arange(1 << BITS) % 8


# --- the float level ----------------------------------------------------------------------------
FLOAT = ("Add", "Sub", "Mul", "Relu", "Tanh", "Neg", "Identity", "add", "mul", "MatMul", "Reshape")
"""ONNX operators; `add` and `mul` are Add and Mul with a constant."""


def float_recipe(size: int, seed: int = 0) -> Recipe:
    """ONNX nodes."""
    return _recipe(size, seed, _float_step)


def _float_step(rng: Random, steps: list[Step]) -> Step:
    kind = rng.choice(FLOAT)
    operands = _operands(rng, len(steps), 2 if kind in ("Add", "Sub", "Mul") else 1)
    return Step(kind, operands, rng.randrange(4))


WEIGHTS = {
    "add": [np.full((1, 4), c, np.float32) for c in (0, 0.5, 1, 2)],
    "mul": [np.full((1, 4), c, np.float32) for c in (1, 0.5, -1, 2)],
    "MatMul": [np.eye(4, dtype=np.float32) * c for c in (1, 2, 3, 4)],
    "Reshape": [np.array([1, 4]), np.array([1, -1]), np.array([1, 4]), np.array([-1, 4])],
}
"""The constant operand of a kind, by the step's number."""


def lutra_floats(recipe: Recipe) -> Graph:
    constants: dict[tuple[str, int], Value] = {}

    def build(step: Step, reads: list[Value], index: int) -> Op:
        if step.kind in WEIGHTS:
            key = (step.kind, step.number)
            if key not in constants:
                constants[key] = ops.Constant(WEIGHTS[step.kind][step.number]).result
            reads = [*reads, constants[key]]
        op_type = step.kind[0].upper() + step.kind[1:]
        return ops.Onnx(tuple(reads), op_type, (Tensor(SHAPE),), {})

    return _lutra(recipe, Tensor(SHAPE), build)


def _lutra(
    recipe: Recipe, input_type: Int | Tensor, build: Callable[[Step, list[Value], int], Op]
) -> Graph:
    graph = Graph()
    rewriter = Rewriter(graph)
    values = [rewriter.input("x", input_type)]
    for index, step in enumerate(recipe[1:]):
        op = build(step, [values[i] for i in step.operands], index)
        values.append(rewriter.insert(op, loc=(f"/node_{index}",)).result)
    rewriter.returns(values[-2:])
    return graph
