"""The options `n_bits` and `rounding_threshold_bits`, and the pipelines that they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lutra.ir.errors import InputError, did_you_mean

MODEL_BITS = 5
"""Fewest bits of a model's inputs and outputs where `n_bits` does not give them apart."""

ROLES = ("model_inputs", "op_inputs", "op_weights", "model_outputs")
MANDATORY = ("op_inputs", "op_weights")


def get_n_bits_dict(n_bits: int | Mapping[str, int]) -> dict[str, int]:
    """Bits by role: `model_inputs`, `op_inputs`, `op_weights`, `model_outputs`.

    An int serves `op_inputs` and `op_weights`; `model_inputs` and `model_outputs` get at least
    `MODEL_BITS`. A mapping names `op_inputs` and `op_weights`; the other two are `MODEL_BITS`
    unless it names them as well.

    Error I005 for another role, a missing one, or what is no number of bits.
    """
    if not isinstance(n_bits, Mapping):
        _check("n_bits", n_bits)
        wide = max(n_bits, MODEL_BITS)
        bits = dict.fromkeys(MANDATORY, n_bits) | {"model_inputs": wide, "model_outputs": wide}
    else:
        for role in n_bits:
            if role not in ROLES:
                raise InputError("I005", f"n_bits has no {role!r}", help=did_you_mean(role, ROLES))
        missing = [role for role in MANDATORY if role not in n_bits]
        if missing:
            raise InputError("I005", f"n_bits={dict(n_bits)} lacks {' and '.join(missing)}")
        bits = {"model_inputs": MODEL_BITS, "model_outputs": MODEL_BITS, **n_bits}
        for role, value in bits.items():
            _check(f"n_bits[{role!r}]", value)
    return {role: bits[role] for role in ROLES}


@dataclass(frozen=True)
class Rounding:
    """What `rounding_threshold_bits` asks for.

    bits: kept of every accumulator before its look-up; none if the choice is Lutra's ("auto").
    exact: rounded exactly; else approximately, which is cheaper and errs near boundaries.
    """

    bits: int | None
    exact: bool = True

    @classmethod
    def of(cls, threshold: Any) -> Rounding | None:
        """From None, a number of bits, or {"method": "EXACT" | "APPROXIMATE", "n_bits": ...}.

        `n_bits` may be "auto", `method` also a member of `concrete.fhe.Exactness`. As in
        Concrete ML, rounding is exact unless said otherwise. Error I005 for anything else.
        """
        if threshold is None:
            return None
        if not isinstance(threshold, Mapping):
            return cls(_rounded(threshold))
        unknown = [key for key in threshold if key not in ("method", "n_bits")]
        if unknown:
            raise InputError(
                "I005",
                f"rounding_threshold_bits has no {unknown[0]!r}",
                help=did_you_mean(str(unknown[0]), ("method", "n_bits")),
            )
        if "n_bits" not in threshold:
            raise InputError("I005", f"rounding_threshold_bits={dict(threshold)} lacks n_bits")
        method = threshold.get("method", "EXACT")
        name = str(getattr(method, "name", method)).upper()
        if name not in ("EXACT", "APPROXIMATE"):
            raise InputError(
                "I005",
                f"rounding method {method!r} is unknown",
                help=did_you_mean(name, ("EXACT", "APPROXIMATE")),
            )
        bits = threshold["n_bits"]
        return cls(None if bits == "auto" else _rounded(bits), name == "EXACT")


def _rounded(bits: Any) -> int:
    if isinstance(bits, bool) or not isinstance(bits, int) or not 2 <= bits <= 8:
        raise InputError(
            "I005",
            f"rounding_threshold_bits={bits!r} is not a number of bits from 2 to 8",
            help='give None, an int, or {"method": "APPROXIMATE", "n_bits": 6}',
        )
    return bits


def _check(name: str, bits: Any) -> None:
    if isinstance(bits, bool) or not isinstance(bits, int) or bits < 1:
        raise InputError("I005", f"{name}={bits!r} is not a number of bits")
