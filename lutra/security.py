"""What look-up errors mean for security: see docs/security.md."""

from __future__ import annotations

from lutra.ir.core import Graph
from lutra.ir.errors import InputError
from lutra.ir.ops import Round

STRICT = 2.0**-40
"""The highest p_error at which decrypted results may be shared."""


def check_p_error(
    p_error: float | None,
    global_p_error: float | None = None,
    *,
    share_results: bool = False,
    max_p_error: float | None = None,
) -> float | None:
    """The highest p_error that is allowed, None for any. Error I006 for one above it.

    p_error: of one look-up, None where only `global_p_error` bounds it.
    share_results: whether decrypted results may become known to the server or to others.
    max_p_error: a bound of one's own.
    """
    bounds = [STRICT] * share_results + [b for b in (max_p_error,) if b is not None]
    if not bounds:
        return None
    most = min(bounds)
    given = [p for p in (p_error, global_p_error) if p is not None]
    if not given or min(given) > most:
        shown = f"p_error={min(given):.2g}" if given else "no bound on p_error"
        why = "decrypted results are shared" if share_results else "max_p_error says so"
        raise InputError(
            "I006",
            f"{shown} is above {most:.2g}, the most that is allowed since {why}",
            help=f"compile with p_error={most:.3g}; docs/security.md tells why",
        )
    return most


def check_rounding(circuit: Graph) -> None:
    """Error I006 where results would tell of noise, as those behind approximate rounding do."""
    for op in circuit.of(Round):
        if not op.exact:
            raise InputError(
                "I006",
                "approximate rounding lets results tell of noise, and they are shared",
                nodes=op.loc,
                help="round exactly (`exact=true`) or not at all (`narrow`); docs/security.md",
            )
