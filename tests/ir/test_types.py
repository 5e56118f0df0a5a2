"""Types: exact ranges, derived bit-widths, frozen arrays."""

import numpy as np
import pytest

from lutra.ir.errors import VerifyError
from lutra.ir.types import Int, Tensor, broadcasts_to, compress, frozen, frozen_ints


@pytest.mark.parametrize(
    ("lo", "hi", "text"),
    [
        (0, 0, "u1[2] in [0, 0]"),
        (0, 1, "u1[2] in [0, 1]"),
        (0, 15, "u4[2] in [0, 15]"),
        (0, 16, "u5[2] in [0, 16]"),
        (-1, 0, "i1[2] in [-1, 0]"),
        (-8, 7, "i4[2] in [-8, 7]"),
        (-8, 8, "i5[2] in [-8, 8]"),
        (-9, 0, "i5[2] in [-9, 0]"),
        (-8, -8, "i4[2] in [-8, -8]"),
        (-184, 176, "i9[2] in [-184, 176]"),
    ],
)
def test_bits_follow_from_the_range(lo: int, hi: int, text: str) -> None:
    assert str(Int.of((2,), lo, hi)) == text


@pytest.mark.parametrize("bits", [1, 2, 8, 62])
def test_bits_of(bits: int) -> None:
    assert Int.bits_of((), bits).bits == bits
    if bits < 62:
        assert Int.bits_of((), bits, signed=True).bits == bits
    assert Int.bits_of((), 8, signed=True) == Int.of((), -128, 127)


def test_ranges_are_kept_per_element_and_compressed() -> None:
    lo = np.zeros((1, 2, 3), dtype=np.int64)
    lo[:, 1] = -5
    kind = Int.of((1, 2, 3), lo, 7)
    assert kind.lo.shape == (1, 2, 1)
    assert kind.hi.shape == (1, 1, 1)
    assert (kind.min, kind.max, kind.size) == (-5, 7, 6)
    assert kind == Int.of((1, 2, 3), [[[0], [-5]]], np.full((2, 1), 7))
    assert hash(kind) == hash(Int.of((1, 2, 3), lo, 7))
    assert kind != Int.of((1, 2, 3), -5, 7)
    assert kind != Tensor((1, 2, 3))


@pytest.mark.parametrize(
    ("shape", "lo", "hi", "code"),
    [
        ((2,), 3, 2, "V001"),
        ((2,), [0, 5], [3, 4], "V001"),
        ((2,), [0, 1, 2], 9, "V001"),
        ((), [0, 1], 9, "V001"),
        ((2,), -(1 << 62), 0, "V004"),
        ((2,), 0, np.float64(1e30), "V004"),
    ],
)
def test_impossible_ranges(shape: tuple[int, ...], lo: object, hi: object, code: str) -> None:
    with pytest.raises(VerifyError) as error:
        Int.of(shape, lo, hi)  # type: ignore[arg-type]
    assert error.value.code == code


def test_empty_values_have_a_range() -> None:
    kind = Int.of((0, 3), 0, 5)
    assert (kind.size, kind.bits) == (0, 3)
    assert Int.of((0,), np.zeros(0), np.zeros(0)).min == 0


def test_frozen_copies_what_may_change() -> None:
    source = np.arange(6).reshape(2, 3)
    kept = frozen(source)
    view = frozen(np.broadcast_to(source[:1], (2, 3)))
    source[:] = -1
    assert kept.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert view.tolist() == [[0, 1, 2], [0, 1, 2]]
    assert frozen(kept) is kept
    assert frozen(kept[:1]).base is not source
    with pytest.raises(ValueError, match="read-only"):
        kept[0, 0] = 1


def test_frozen_ints_takes_integers_of_any_type() -> None:
    for given in ([1, 2], np.array([1, 2], np.uint8), np.array([1.0, 2.0]), (True, 2)):
        made = frozen_ints(given)
        assert made.tolist() == [1, 2]
        assert made.dtype == np.int64
    assert frozen_ints([]).shape == (0,)


@pytest.mark.parametrize("given", [[1.5], [np.nan], [np.inf], [1e19], ["a"], [None]])
def test_frozen_ints_changes_no_number(given: list[object]) -> None:
    with pytest.raises(VerifyError, match="integers are expected"):
        frozen_ints(given)  # type: ignore[arg-type]


def test_compress() -> None:
    table = np.array([[[1, 2]], [[1, 2]]])
    assert compress(table).tolist() == [[[1, 2]]]
    assert compress(np.full((3, 4), 7)).shape == (1, 1)
    assert compress(np.full((3, 4), 7), keep=1).shape == (1, 4)
    assert compress(np.zeros((0, 3))).shape == (0, 1)


def test_broadcasts_to() -> None:
    assert broadcasts_to((), (2, 3))
    assert broadcasts_to((1, 3), (2, 3))
    assert not broadcasts_to((2, 3), (3,))
    assert not broadcasts_to((2,), (3,))
