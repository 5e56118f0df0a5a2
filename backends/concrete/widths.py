"""In how many bits each value is encoded.

Within an encoding of w bits arithmetic is exact modulo 2^(w+1), and whatever happens to higher bits
is forgotten. So a value needs the bits that something *reads* from it, which are often fewer than
its range has:

- a look-up of n entries behind a rounding by k bits reads an integer modulo 2^(log2(n)+k+1): its
  table is negacyclic anyway;
- an output is decoded modulo 2^(w+1), and its type says which residue is meant;
- a table's entries are stored in full, and inputs are encrypted in full.

Fewer bits leave more room for noise, hence cheaper parameters. A levelled operation reads its
operands in the encoding of its result; going to fewer bits is free (`Writer.keep_low`).
"""

from __future__ import annotations

from collections.abc import Mapping

from lutra.backends.concrete.options import Widths
from lutra.ir.core import Graph, Input, Op, Return, Value
from lutra.ir.ops import Halve, Lookup, Max, Mul, Round
from lutra.ir.types import Int, Ints


def table_bits(table: Ints) -> int:
    """Bits of the smallest integer format that holds all entries."""
    return Int.of((), table.min(), table.max()).bits


def output_bits(type: Int) -> int:
    """Smallest w of which 2^(w+1) residues tell all values of an output apart."""
    return max(1, type.span_bits - 1)


def operand_of(lookup: Lookup) -> tuple[Value, int, bool]:
    """What a look-up reads in the end: the accumulator, dropped bits, whether exactly."""
    owner = lookup.x.owner
    return (owner.x, owner.lsbs, owner.exact) if isinstance(owner, Round) else (lookup.x, 0, False)


def clear_bits(type: Int) -> int:
    """Bits in which a clear input is read: those of its range, with one for the sign."""
    return max(2, type.bits + (not type.signed))


def encodings(circuit: Graph, widths: Widths = "needed") -> Mapping[Value, int]:
    """Bits of the encoding of each value of an integer circuit."""
    bits: dict[Value, int] = {}
    for op in reversed(list(circuit.ops)):
        for value in op.results:
            least = value.int_type.bits if widths == "full" else 1
            bits[value] = max(bits.get(value, 1), least, _written(op))
        for value, read in _read(op, bits):
            bits[value] = max(bits.get(value, 1), read)
    return bits


def _written(op: Op) -> int:
    """Bits that the result of an operation needs, whoever reads it.

    Concrete takes clear integers of no more bits than residues of the encoding have.
    """
    clear = [clear_bits(value.int_type) - 1 for value in op.operands if value.clear]
    return max([_own_bits(op), *clear])


def _own_bits(op: Op) -> int:
    if isinstance(op, Input):
        return op.result.int_type.bits
    if isinstance(op, Lookup):
        return table_bits(op.table)
    if isinstance(op, Max):
        return op.index_bits - 1
    if isinstance(op, Mul) and op.squared():
        return max(1, max(max(t.min**2, t.max**2) for t in op.squared()).bit_length())
    return 1


def _read(op: Op, bits: Mapping[Value, int]) -> list[tuple[Value, int]]:
    """Bits that an operation needs of its operands, given those of its result."""
    if isinstance(op, Return):
        return [(value, output_bits(value.int_type)) for value in op.values]
    if isinstance(op, Round):
        return []
    if isinstance(op, Lookup):
        x, lsbs, _ = operand_of(op)
        return [(x, op.entries.bit_length() - 1 + lsbs)]
    if isinstance(op, Max | Halve):
        return [(value, bits[op.result] + 1) for value in op.operands]
    if isinstance(op, Mul) and op.squared():
        return [(value, op.index_bits) for value in op.operands]
    return [(value, bits[op.result]) for value in op.operands]
