"""Uniform affine quantization of arrays, held to documented values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lutra.ir.errors import InputError
from lutra.ir.types import Array
from lutra.quantization import QuantizedArray, UniformQuantizer


@pytest.fixture
def values() -> Array:
    rng = np.random.RandomState(0)  # the documentation's numpy.random.seed(0)
    return rng.uniform(-2, 2, 10)


# --- documented values ----------------------------------------------------------------------------
def test_seven_bits(values: Array) -> None:
    q = QuantizedArray(7, values)
    assert q.qvalues.tolist() == [37, 73, 48, 36, 9, 58, 12, 112, 127, 0]
    assert q.quantizer.scale == q.scale == 0.018274684777173276
    assert q.quantizer.zero_point == q.zero_point == 26
    np.testing.assert_allclose(
        q.dequant(),
        [0.20102153, 0.85891018, 0.40204307, 0.18274685, -0.31066964]
        + [0.58478991, -0.25584559, 1.57162289, 1.84574316, -0.4751418],
        atol=1e-8,
    )
    assert q.values is not values


def test_three_bits(values: Array) -> None:
    q = QuantizedArray(3, values)
    assert q.qvalues.tolist() == [2, 4, 2, 2, 0, 3, 0, 6, 7, 0]
    assert q.zero_point == 1


def test_three_bits_signed_and_symmetric(values: Array) -> None:
    q = QuantizedArray(3, values, is_signed=True, is_symmetric=True)
    assert q.qvalues.tolist() == [0, 1, 1, 0, 0, 1, 0, 3, 3, -1]
    assert q.zero_point == 0


def test_integers_with_a_scale() -> None:
    q = QuantizedArray(4, np.array([0, 3, 15]), value_is_float=False, scale=0.5, zero_point=2)
    assert q.values.tolist() == [-1.0, 0.5, 6.5]
    assert q.update_quantized_values(np.array([2, 4])).tolist() == [0.0, 1.0]
    assert q.values.tolist() == [0.0, 1.0]


def test_new_values_under_the_same_quantizer(values: Array) -> None:
    q = QuantizedArray(3, values)
    assert q.update_values(np.array([-9.0, 0.0, 9.0])).tolist() == [0, 1, 7]
    assert q.quant().tolist() == [0, 1, 7]
    assert q.scale == QuantizedArray(3, values).scale


# --- properties -----------------------------------------------------------------------------------
FLOATS = arrays(np.float64, st.integers(1, 8), elements=st.floats(-1e6, 1e6))


@given(FLOATS, st.integers(2, 16), st.booleans(), st.booleans())
def test_every_value_comes_back_within_a_step(
    values: Array, bits: int, signed: bool, symmetric: bool
) -> None:
    q = QuantizedArray(bits, values, is_signed=signed, is_symmetric=symmetric and signed)
    first = -(2 ** (bits - 1)) if signed else 0
    assert q.qvalues.min() >= first
    assert q.qvalues.max() < first + 2**bits
    before = q.values.copy()
    assert np.abs(q.dequant() - before).max() <= 1.01 * q.scale + 1e-6


@pytest.mark.parametrize("value", [0.0, 2.5, -2.5])
@pytest.mark.parametrize("signed", [False, True])
def test_values_that_are_all_the_same(value: float, signed: bool) -> None:
    q = QuantizedArray(3, np.full(4, value), is_signed=signed)
    np.testing.assert_array_equal(q.dequant(), np.full(4, value))


# --- bad input ------------------------------------------------------------------------------------
@pytest.mark.parametrize("bits", [0, -1, 33, 2.5, True, "3"])
def test_numbers_of_bits(bits: int) -> None:
    with pytest.raises(InputError, match="I005"):
        QuantizedArray(bits, np.ones(2))


@pytest.mark.parametrize("values", [[], [np.nan, 1.0], [np.inf]])
def test_values_that_have_no_range(values: list[float]) -> None:
    with pytest.raises(InputError, match="I003"):
        QuantizedArray(3, np.array(values))


def test_integers_need_a_scale() -> None:
    with pytest.raises(InputError, match="scale"):
        QuantizedArray(3, np.array([1]), value_is_float=False)
    with pytest.raises(InputError, match="without a scale"):
        QuantizedArray(3, np.array([1]), value_is_float=False, zero_point=1)
    with pytest.raises(InputError, match="I005"):
        UniformQuantizer(3, 0.0, 0)
    q = QuantizedArray(3, np.array([1]), value_is_float=False, scale=1.0)
    with pytest.raises(InputError, match="I002"):
        q.update_quantized_values(np.array([0.5]))
