"""The choices that Concrete leaves open."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, get_args, get_type_hints

from lutra.ir.errors import InputError

Strategy = Literal["best", "precision", "precision_and_norm2", "mono"]
Widths = Literal["needed", "full"]


@dataclass(frozen=True)
class Options:
    """How a circuit is compiled.

    p_error: chance that one look-up's result is off, None for no bound.
    global_p_error: chance that any of one sample's look-ups is off, None for no bound.
    strategy: which look-ups share cryptographic parameters: those of one precision, those of one
        precision and similar noise, or all (`mono`). `best` compiles with each that may be the
        cheapest and keeps the cheapest: `mono` is that only for look-ups of 10 and 11 bits, which
        the others build with keys of many gigabytes.
    widths: `needed` encodes values in the bits that look-ups and outputs read, `full` in the bits
        of their ranges. The integers are the same (see `lutra.backends.concrete.widths`).
    security_bits: hardness of the lattice problems behind the keys.
    parallel: spread the elements of one operation over threads (OMP_NUM_THREADS).

    p_error above 2^-40 weakens the IND-CPA-D security of those who publish decrypted results (Li,
    Micciancio, "On the Security of Homomorphic Encryption on Approximate Numbers", 2021).
    """

    p_error: float | None = 1e-5
    global_p_error: float | None = None
    strategy: Strategy = "best"
    widths: Widths = "needed"
    security_bits: int = 128
    parallel: bool = True

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for field in fields(self):
            value, allowed = getattr(self, field.name), get_args(hints[field.name])
            if field.name.endswith("p_error"):
                if value is not None and not 0 < value < 1:
                    raise InputError("I005", f"{field.name}={value!r} is not between 0 and 1")
            elif allowed and value not in allowed:
                raise InputError(
                    "I005", f"{field.name}={value!r}", help=f"choose one of {', '.join(allowed)}"
                )
