"""Attributes as dictionary keys."""

import numpy as np
import pytest

from lutra.ir.keys import key_of
from lutra.ir.types import Array, Tensor

LARGE = np.arange(1000.0)


def changed(array: Array, index: int) -> Array:
    copy = array.copy()
    copy[index] += 1
    return copy


@pytest.mark.parametrize(
    "value",
    [
        3,
        "a",
        True,
        2.5,
        None,
        [1, "a", [2.5]],
        {"b": 1, "a": np.arange(3)},
        np.array(["a", "bc"]),
        np.array(["a", None], object),
        np.array("a" * 100),
        LARGE,
        LARGE.reshape(10, 100).T,
        (Tensor((1, 2)),),
    ],
)
def test_equal_attributes_have_equal_keys(value: object) -> None:
    twin = value.copy() if isinstance(value, np.ndarray | dict | list) else value
    assert key_of(twin) == key_of(value)
    assert hash(key_of(twin)) == hash(key_of(value))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (1, 1.0),
        ("1", 1),
        ([1, 2], [2, 1]),
        ({"a": 1}, {"b": 1}),
        (np.arange(3), np.arange(3, dtype=np.int32)),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (LARGE, changed(LARGE, 501)),
        (LARGE, LARGE.reshape(10, 100)),
        (np.zeros(100), np.zeros(100, np.int64)),
        (Tensor((1, 2)), Tensor((1, 2), "int64")),
    ],
)
def test_other_attributes_have_other_keys(one: object, other: object) -> None:
    assert key_of(one) != key_of(other)
