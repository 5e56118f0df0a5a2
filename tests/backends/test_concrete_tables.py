"""Look-ups, rounding, max and mul under encryption, out of range too, against the interpreter."""

import numpy as np
import pytest

from encrypted import Encrypted
from lutra.ir.interpreter import evaluate
from lutra.ir.parser import parse_graph

pytestmark = pytest.mark.encrypted

EVERY = np.arange(-16, 16)[None]
INPUT = "%x = input : i5[32] in [-16, 15]\n"
UNSIGNED = "[13, 10, 8, 4, 4, 0, 1, 0]"
SIGNED = "[-6, 5, 2, 6, 0, -8, 7, 3]"


def test_lookups_wrap_as_negacyclic_tables_do(encrypted: Encrypted) -> None:
    """Every input, far beyond the table's range: `assume` is false for most of them."""
    encrypted.check(
        f"""{INPUT}
        %0 = assume %x, lo=-3, hi=4
        %1 = lookup %0, base=-3, table={SIGNED}
        %2 = lookup %0, base=-3, table={UNSIGNED}
        %3 = pad %2, before=[0], after=[1], value=-20
        return %1, %3
        """,
        EVERY,
    )


def test_exact_rounding_wraps_too(encrypted: Encrypted) -> None:
    encrypted.check(
        f"""{INPUT}
        %0 = assume %x, lo=-11, hi=3
        %1 = round %0, lsbs=1, exact=true
        %2 = lookup %1, base=-5, table={SIGNED}
        return %2
        """,
        EVERY,
    )


def test_intermediate_values_may_overflow_the_encoding(encrypted: Encrypted) -> None:
    """Only the bits that the look-up reads are encoded, and are exact."""
    executable = encrypted.check(
        f"""
        %x = input : i3[8] in [-4, 3]
        %0 = mul_clear %x, c=1001
        %1 = add_clear %0, c=-500
        %2 = assume %1, lo=-4, hi=3
        %3 = lookup %2, base=-4, table={SIGNED}
        return %3
        """,
        np.arange(-4, 4)[None],
    )
    assert executable.program.inputs[0].bits == 3


def test_each_channel_has_its_table(encrypted: Encrypted) -> None:
    encrypted.check(
        f"""
        %x = input : i4[2x16] in [-8, 7]
        %0 = assume %x, lo=-4, hi=3
        %1 = lookup %0, base=-4, table=[[{SIGNED}], [[2, 2, 2, 2, 2, 2, 2, 2]]]
        return %1
        """,
        np.broadcast_to(np.arange(-8, 8), (1, 2, 16)),
    )


def test_lookups_on_one_value_with_one_middle(encrypted: Encrypted) -> None:
    """Each reads as many bits as its own table has, behind its own offset."""
    encrypted.check(
        f"""
        %x = input : i4[8] in [-8, 6]
        %0 = assume %x, lo=-4, hi=3
        %1 = lookup %x, base=-8, table={list(range(-8, 8))}
        %2 = lookup %0, base=-4, table={SIGNED}
        %3 = round %x, lsbs=1, exact=true
        %4 = lookup %3, base=-4, table={SIGNED}
        %5 = lookup %3, base=-4, table={UNSIGNED}
        return %1, %2, %4, %5
        """,
        np.arange(-8, 7, 2)[None],
    )


def test_approximate_rounding_errs_by_one_step_near_boundaries(encrypted: Encrypted) -> None:
    """All inputs up to the middle of the last cell; see the headroom that `round` documents."""
    text = """
    %x = input : i6[57] in [-32, 24]
    %0 = round %x, lsbs=3
    %1 = lookup %0, base=-4, table=[-4, -3, -2, -1, 0, 1, 2, 3]
    return %1
    """
    x = np.arange(-32, 25)[None]
    (result,) = encrypted.compile(text).run(x)
    (expected,) = evaluate(parse_graph(text), [x])
    assert np.abs(result - expected).max() <= 1
    near = (x + 4) % 8
    assert (result == expected)[(near >= 3) & (near < 5)].all()


def test_max_and_mul(encrypted: Encrypted) -> None:
    """All pairs."""
    x, y = np.meshgrid(np.arange(-2, 3), np.arange(4))
    encrypted.check(
        """
        %x = input : i3[20] in [-2, 2]
        %y = input : u2[20] in [0, 3]
        %0 = max %x, %y
        %1 = mul %x, %y
        %2 = mul %x, %x
        return %0, %1, %2
        """,
        x.reshape(1, -1),
        y.reshape(1, -1),
    )


def test_max_of_maxima(encrypted: Encrypted) -> None:
    """A chain in which each step needs one bit more than its result."""
    encrypted.check(
        """
        %x = input : u3[5] in [0, 7]
        %0 = slice %x, starts=[0], stops=[3], steps=[1]
        %1 = slice %x, starts=[1], stops=[4], steps=[1]
        %2 = slice %x, starts=[2], stops=[5], steps=[1]
        %3 = max %0, %1
        %4 = max %3, %2
        %5 = sub %4, %0
        return %5
        """,
        samples=3,
    )


def test_scalars(encrypted: Encrypted) -> None:
    encrypted.check(
        f"""
        %x = input : i3[] in [-4, 3]
        %0 = lookup %x, base=-4, table={SIGNED}
        %1 = round %0, lsbs=1, exact=true
        %2 = lookup %1, base=-4, table=[1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14]
        return %0, %2
        """,
        np.array([-4, 3]),
    )


def test_clipped_functions_use_both_halves_of_a_turn(encrypted: Encrypted) -> None:
    """Four levels around 3/2, doubled: the three bits that are read tell 14 integers apart."""
    encrypted.check(
        f"""
        %x = input : i4[14] in [-7, 6]
        %0 = lookup %x, base=0, table=[1, 3, 3, 3, 3, 3, 3, 1], beyond="negacyclic"
        %1 = add_clear %0, c=3
        %2 = halve %1
        %3 = matmul %2, w={[[1]] * 14}
        return %2, %3
        """,
        [list(range(-7, 7))],
    )
