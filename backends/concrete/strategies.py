"""Which look-ups may share cryptographic parameters."""

from __future__ import annotations

from collections.abc import Sequence

from lutra.backends.concrete.options import Options
from lutra.ir.core import Op
from lutra.ir.errors import BackendError
from lutra.ir.ops import Lookup, Round
from lutra.ir.text import text_of_op

NATIVE_BITS = 9
"""Widest look-ups that are surely best made of one bootstrap each."""


def strategies(ops: Sequence[Op], widest: int, options: Options) -> list[str]:
    """The strategies that are to be compared for a circuit of these operations.

    Look-ups that read one approximately rounded value must see the same result near the middle
    between two: they do under the same parameters, since noise before a bootstrap depends on
    nothing else. `precision_and_norm2` may give each its own.

    widest: bits of the widest look-up. Error B002 where the options ask for what is no choice.
    """
    shared = [op for op in ops if isinstance(op, Round) and not op.exact and _readers(op) > 1]
    if options.strategy == "precision_and_norm2" and shared:
        raise BackendError(
            "B002",
            "strategy `precision_and_norm2` may round one value differently for two look-ups",
            nodes=shared[0].loc,
            lines=[text_of_op(shared[0])],
            help="choose strategy `best`, `precision` or `mono`",
        )
    if options.strategy != "best":
        return [options.strategy]
    found = ["precision"]
    if not shared:
        found.append("precision_and_norm2")
    if widest > NATIVE_BITS:
        found.append("mono")
    return found


def _readers(op: Round) -> int:
    return sum(isinstance(user, Lookup) for user in op.result.users)
