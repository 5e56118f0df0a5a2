"""Where a float operator stands: at the client, in the clear, or between encrypted layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from lutra.ir.core import Op, Secrecy, Value
from lutra.ir.ops import Dequantize, Onnx
from lutra.ir.traits import WEIGHTED, Trait, trait
from lutra.passes.flow import is_onnx


def at_client(value: Value) -> bool:
    """Whether a value comes from the inputs without any layer or quantization between.

    Clear ones are no secret of any layer.
    """

    def is_client(op: Op) -> bool:
        is_layer = isinstance(op, Onnx) and trait(op) is Trait.LINEAR
        return op.secrecy() is Secrecy.CLEAR or not (is_layer or isinstance(op, Dequantize))

    return _all_reached([value.owner], lambda op: [v.owner for v in op.operands], is_client)


def leads_to_layer(op: Op) -> bool:
    """Whether a layer with weights stands somewhere behind: else the client computes it."""

    def is_none(op: Op) -> bool:
        return not is_onnx(op, *WEIGHTED)

    return not _all_reached([op], lambda op: [u for v in op.results for u in v.users], is_none)


def is_encrypted(op: Op) -> bool:
    """Whether an operation computes under encryption: neither before nor behind all layers."""
    return not all(map(at_client, op.operands)) and leads_to_layer(op)


def _all_reached(
    start: Iterable[Op], following: Callable[[Op], Iterable[Op]], holds: Callable[[Op], bool]
) -> bool:
    """Whether something holds for all operations that can be reached."""
    stack = list(start)
    seen = set(stack)
    while stack:
        op = stack.pop()
        if not holds(op):
            return False
        fresh = [other for other in following(op) if other not in seen]
        seen.update(fresh)
        stack += fresh
    return True
