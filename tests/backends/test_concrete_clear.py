"""Inputs that stay clear: levelled where they meet ciphertexts, and what Concrete makes of them."""

import numpy as np
import pytest

from encrypted import Encrypted
from lutra.backends import concrete
from lutra.backends.concrete.emission import program_of
from lutra.ir.analysis import pbs_by_bits
from lutra.ir.errors import BackendError
from lutra.ir.parser import parse_graph

MEETINGS = """
%x = input : u4[2x3] in [0, 15]
%m = input : clear i4[3x4] in [-8, 7]
%s = input : clear u3[2x4] in [0, 7]
%b = input : clear i9[4] in [-200, 200]
%l = input : clear i4[1x2] in [-8, 7]
%0 = matmul_values %x, %m
%1 = mul %s, %0
%2 = add %b, %1
%3 = sub %b, %2
%4 = sub %3, %s
%5 = matmul_values %l, %4
%6 = concat %4, %s, axis=0
return %5, %6
"""
PRODUCT = """
%x = input : u4[1x16] in [0, 15]
%m = input : clear i{bits}[16x4] in [{lo}, {hi}]
%0 = lookup %x, base=0, table=[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
%1 = matmul_values %0, %m
%2 = assume %1, lo=-2048, hi=1919
%3 = round %2, lsbs=8
%4 = lookup %3, base=-8, table=[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
return %4
"""


@pytest.mark.encrypted
def test_meetings_are_levelled(encrypted: Encrypted) -> None:
    executable = encrypted.check(MEETINGS)
    assert executable.costs.bootstraps == 0
    assert [port.clear for port in executable.program.inputs] == [False, True, True, True, True]


@pytest.mark.encrypted
def test_all_else_reads_them_as_ciphertexts(encrypted: Encrypted) -> None:
    text = """
        %x = input : u2[2] in [0, 3]
        %m = input : clear i3[2] in [-3, 3]
        %0 = max %m, %x
        return %0
    """
    executable = encrypted.check(text)
    assert executable.costs.bootstraps_by_bits == pbs_by_bits(parse_graph(text)) == {3: 2}


def test_what_is_sent_of_them_are_their_integers() -> None:
    """As many bytes whatever the key, and no randomness."""
    text = "%x = input : u2[2] in [0, 3]\n%m = input : clear i3[2] in [-3, 3]\n%0 = add %x, %m"
    client = concrete.emit(parse_graph(f"{text}\nreturn %0"), strategy="precision").client
    x, m = np.array([1, 2]), np.array([-3, 3])
    (first, clear), (second, again) = (client.encrypt(x, m).to_bytes() for _ in range(2))
    assert first != second
    assert clear == again
    assert np.array([-3, 3], np.int8).tobytes() in clear


@pytest.mark.parametrize("bits", [3, 6])
@pytest.mark.parametrize("p_error", [1e-5, 1e-2])
def test_prices_are_the_optimizers(bits: int, p_error: float) -> None:
    """Concrete takes a clear factor for the largest magnitude of its bits."""
    half = 1 << (bits - 1)
    circuit = parse_graph(PRODUCT.format(bits=bits, lo=-half, hi=half - 1))
    true = concrete.estimate(circuit, p_error=p_error, strategy="precision").price
    found = concrete.price_of(circuit, p_error=p_error, strategy="precision").total
    assert found == pytest.approx(true, rel=0.05)


def test_what_is_clear_alone_is_the_clients() -> None:
    text = "%x = input : u2[2] in [0, 3]\n%m = input : clear u2[2] in [0, 3]\n"
    with pytest.raises(BackendError, match="left to the client") as error:
        program_of(parse_graph(f"{text}%0 = neg %m\n%1 = add %x, %0\nreturn %1"))
    assert error.value.code == "B002"
