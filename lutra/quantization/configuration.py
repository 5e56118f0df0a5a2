"""Options of the backend from what users of Concrete give: keywords and `fhe.Configuration`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lutra.ir.errors import InputError
from lutra.quantization.notices import no_effect

SILENT = ("verbose", "show_", "print_", "progress_", "compress_")
"""Beginnings of the names of settings that change no result; they are passed over."""


def options_of(
    configuration: Any, p_error: float | None, global_p_error: float | None, default: float
) -> dict[str, Any]:
    """Options of the backend.

    configuration: None, a mapping of such options, or a `concrete.fhe.Configuration`, of which
        settings without a meaning here are warned about.
    default: the `p_error` where no probability is given.

    Error I005 where both probabilities are given, or one of them twice.
    """
    if p_error is not None and global_p_error is not None:
        raise InputError("I005", "p_error and global_p_error are both given", help="give one")
    options = _settings(configuration)
    for name in ("p_error", "global_p_error"):
        if options.get(name) is not None:
            raise InputError("I005", f"configuration sets {name}", help=f"give it as {name}=")
    if global_p_error is not None:
        return {**options, "p_error": None, "global_p_error": global_p_error}
    return {**options, "p_error": default if p_error is None else p_error}


def clear_inputs(names: Sequence[str], status: Sequence[str] | None) -> tuple[str, ...]:
    """The inputs of these names that stay clear by `inputs_encryption_status`.

    Error I005 unless it says "clear" or "encrypted" of each, "encrypted" at least once.
    """
    if status is None:
        return ()
    known = all(word in ("clear", "encrypted") for word in status)
    if len(status) != len(names) or not known or "encrypted" not in status:
        raise InputError(
            "I005",
            f"inputs_encryption_status={tuple(status)!r}",
            help=f"give {len(names)} times 'encrypted' or 'clear', 'encrypted' at least once",
        )
    return tuple(name for name, word in zip(names, status, strict=True) if word == "clear")


def _settings(configuration: Any) -> dict[str, Any]:
    if configuration is None:
        return {}
    if isinstance(configuration, Mapping):
        return dict(configuration)
    usual = vars(type(configuration)())
    given = {k: v for k, v in vars(configuration).items() if v != usual.get(k)}
    options: dict[str, Any] = {}
    for name in ("p_error", "global_p_error"):
        options[name] = given.pop(name, None)
    if _name(given.pop("parameter_selection_strategy", "multi")) == "mono":
        options["strategy"] = "mono"
    if not given.pop("loop_parallelize", True):
        options["parallel"] = False
    level = given.pop("security_level", None)
    if level is not None:
        options["security_bits"] = int(getattr(level, "value", level))
    for name in sorted(given):
        if not name.startswith(SILENT):
            no_effect(f"configuration.{name}", "Lutra writes its own programs", stacklevel=4)
    return {name: value for name, value in options.items() if value is not None}


def _name(member: Any) -> str:
    return str(getattr(member, "name", member)).lower()
