"""Warnings about arguments that are taken for the sake of existing programs, and change nothing."""

from __future__ import annotations

import warnings


class NoEffectWarning(UserWarning):
    """An argument was given that has no meaning in Lutra; the message says why."""


def no_effect(argument: str, why: str, *, stacklevel: int = 2) -> None:
    """Warn of an argument; `stacklevel` 2 is the caller of who calls this."""
    warnings.warn(f"{argument} has no effect: {why}", NoEffectWarning, stacklevel=stacklevel + 1)
