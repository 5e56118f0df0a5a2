"""From an integer circuit to the text that Concrete's compiler reads."""

from __future__ import annotations

from dataclasses import dataclass

from lutra.backends.concrete.emitter import Emission, Emitter
from lutra.backends.concrete.linear import LINEAR
from lutra.backends.concrete.mlir import Bootstraps, Clear, Ref
from lutra.backends.concrete.movement import MOVEMENT
from lutra.backends.concrete.options import Widths
from lutra.backends.concrete.tables import TABLES
from lutra.backends.concrete.widths import clear_bits, encodings
from lutra.ir import ops
from lutra.ir.core import Graph, Input, Op, Return, Value, dependencies
from lutra.ir.decompose import decomposed
from lutra.ir.errors import BackendError
from lutra.ir.text import text_of_op
from lutra.ir.types import Int, Shape

FUNCTION = "main"
"""Name of the one function in the text."""


@dataclass(frozen=True)
class Port:
    """An input or output of a circuit: integers lo..hi of a shape, encoded in `bits` bits.

    clear: an input that is not encrypted.
    """

    name: str
    shape: Shape
    lo: int
    hi: int
    bits: int
    clear: bool = False


@dataclass(frozen=True)
class Program:
    """A circuit as text, and what is known of it before it is compiled.

    `bootstraps`, and the locations in the text, number `ops`, the circuit's operations in order:
    of a copy if the circuit has operations to decompose.
    """

    text: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    bootstraps: tuple[Bootstraps, ...]
    ops: tuple[Op, ...]


def program_of(circuit: Graph, widths: Widths = "needed") -> Program:
    """The text of an integer circuit. Error B002 where it is none."""
    circuit = decomposed(circuit)
    nodes = tuple(circuit.ops)
    for node in nodes:
        _check(node)
    e = Emitter(encodings(circuit, widths))
    live = {*circuit.inputs, circuit.terminator, *dependencies(circuit.outputs)}
    for e.writer.at, node in enumerate(nodes):
        ref = EMISSION[type(node)](e, node) if node in live else None
        if ref is not None:
            e.refs[node.result] = ref
    names = circuit.output_names
    return Program(
        text=_function(e, circuit),
        inputs=tuple(_port(e, node.name, node.result, node.clear) for node in circuit.inputs),
        outputs=tuple(_port(e, *pair) for pair in zip(names, circuit.outputs, strict=True)),
        bootstraps=tuple(e.writer.bootstraps),
        ops=nodes,
    )


def _check(node: Op) -> None:
    """Error B002 unless Concrete has a counterpart of the operation."""
    problem = None
    if type(node) not in EMISSION:
        problem = "is no operation of integer circuits"
    elif not all(isinstance(value.type, Int) and value.type.size for value in node.results):
        problem = "makes no integers"
    elif not isinstance(node, Input) and any(value.clear for value in node.results):
        problem = "computes on clear values alone, which is left to the client"
    elif isinstance(node, ops.Round) and not all(
        isinstance(user, ops.Lookup) for user in node.result.users
    ):
        problem = "is read by something else than look-ups"
    if problem:
        lines = [text_of_op(node)]
        raise BackendError("B002", f"{node.opname} {problem}", nodes=node.loc, lines=lines)


def _port(e: Emitter, name: str, value: Value, clear: bool = False) -> Port:
    type = value.int_type
    return Port(name, type.shape, type.min, type.max, e.bits[value], clear)


def _function(e: Emitter, circuit: Graph) -> str:
    arguments = [_argument(e, node) for node in circuit.inputs]
    results = [e.ref(value) for value in circuit.outputs]
    parameters = ", ".join(f"{ref.name}: {ref.type}" for ref in arguments)
    types = ", ".join(ref.type for ref in results)
    parts = [
        f"func.func @{FUNCTION}({parameters}) -> ({types}) {{",
        *(f"  {line}" for line in e.writer.lines),
        f"  return {', '.join(ref.name for ref in results)} : {types}",
        "}\n",
    ]
    return "\n".join(parts)


def _argument(e: Emitter, node: Input) -> Ref | Clear:
    assert node.graph is not None
    type = node.result.int_type
    name = f"%arg{node.graph.inputs.index(node)}"
    if node.clear:
        return Clear.parameter(name, type.shape or (1,), clear_bits(type))
    return Ref(name, type.shape or (1,), e.bits[node.result], type.signed)


def _input(e: Emitter, node: Input) -> Ref | None:
    argument = _argument(e, node)
    if isinstance(argument, Ref):
        return e.writer.argument(argument)
    e.clear[node.result] = argument
    return None


def _return(e: Emitter, node: Return) -> None:
    """Nothing: the function's last line is written at the end."""


EMISSION: dict[type[Op], Emission] = {
    Input: _input,
    Return: _return,
    **LINEAR,
    **MOVEMENT,
    **TABLES,
}
"""What each operation becomes. Total on the operations of integer circuits."""
