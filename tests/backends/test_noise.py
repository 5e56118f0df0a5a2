"""The simulator's look-up errors against real ones."""

from __future__ import annotations

import numpy as np
import pytest

from encrypted import Encrypted
from lutra.backends import numpy as clear
from lutra.ir.parser import parse_graph

N = 96
P_ERROR = 0.02
ROUNDED = f"""
%x = input : u7[1x{N}] in [0, 119]
%r = round %x, lsbs=3, exact=false
%y = lookup %r, base=0, table=[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
return %y
"""
PLAIN = f"""
%x = input : u4[1x{N}] in [0, 15]
%a = lookup %x, base=0, table=[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
%b = mul_clear %a, c=15
%y = lookup %b, base=0, table={[i // 15 for i in range(256)]}
return %y
"""


@pytest.mark.encrypted
def test_approximate_rounding_errs_as_simulated(encrypted: Encrypted) -> None:
    # Neither the lowest nor the highest cell: from there a slip leaves the table, and wraps.
    x = np.resize(np.arange(4, 116), (3, 1, N))
    real = encrypted.compile(ROUNDED, p_error=P_ERROR, strategy="best")
    (y,) = real.run(x)
    meant = (x + 4) >> 3
    moved = y - meant
    assert np.abs(moved).max() == 1
    near = np.abs((x + 4) % 8 - 3.5) > 3  # next to the middle between two integers
    found, far = (moved != 0)[near].mean(), (moved != 0)[~near].mean()
    (z,) = clear.emit(parse_graph(ROUNDED), p_error=P_ERROR, seed=0).run(np.tile(x, (50, 1, 1)))
    drawn = (z != np.tile(meant, (50, 1, 1)))[np.tile(near, (50, 1, 1))].mean()
    deviation = np.sqrt(drawn * (1 - drawn) / near.sum())
    assert 0.6 * drawn - 4 * deviation < found < drawn + 4 * deviation
    assert far < found


@pytest.mark.encrypted
def test_other_look_ups_err_no_more_often_than_allowed(encrypted: Encrypted) -> None:
    x = np.resize(np.arange(16), (1, 1, N))
    (y,) = encrypted.compile(PLAIN, p_error=P_ERROR, strategy="best").run(x)
    wrong = (y != x).mean()
    looked_up = 2 * x.size
    assert wrong < 2 * P_ERROR + 4 * np.sqrt(2 * P_ERROR / looked_up)
