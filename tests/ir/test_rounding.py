"""Rounding modes: Python's `decimal` is the reference."""

import decimal
from decimal import Decimal

import numpy as np
import pytest

from lutra.ir.rounding import ROUNDINGS

HALVES = np.arange(-20, 21, dtype=np.float32) / 8


@pytest.mark.parametrize("name", ROUNDINGS)
def test_modes_are_those_of_decimal(name: str) -> None:
    mode = getattr(decimal, "ROUND_" + name.upper().replace("CEIL", "CEILING"))
    wanted = [int(Decimal(float(x)).to_integral_value(mode)) for x in HALVES]
    rounded = ROUNDINGS[name](HALVES)
    assert rounded.dtype == np.float32
    assert rounded.tolist() == wanted


@pytest.mark.parametrize("name", ROUNDINGS)
def test_which_modes_commute_with_integers(name: str) -> None:
    mode = ROUNDINGS[name]
    commutes = all(((mode(HALVES + n) - n) == mode(HALVES)).all() for n in range(-5, 6))
    assert commutes == mode.shifts_with_integers
