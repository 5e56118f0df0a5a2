"""The options `n_bits` and `rounding_threshold_bits`."""

from typing import Any

import pytest
from concrete import fhe

from lutra.ir.errors import InputError
from lutra.quantization import Rounding, get_n_bits_dict

ROLES = ("model_inputs", "op_inputs", "op_weights", "model_outputs")


@pytest.mark.parametrize(
    ("n_bits", "expected"),
    [
        (3, (5, 3, 3, 5)),
        (8, (8, 8, 8, 8)),
        ({"op_inputs": 3, "op_weights": 2}, (5, 3, 2, 5)),
        ({"op_inputs": 3, "op_weights": 2, "model_inputs": 7}, (7, 3, 2, 5)),
        ({"op_inputs": 3, "op_weights": 2, "model_outputs": 9}, (5, 3, 2, 9)),
    ],
)
def test_bits_by_role(n_bits: Any, expected: tuple[int, ...]) -> None:
    assert get_n_bits_dict(n_bits) == dict(zip(ROLES, expected, strict=True))


@pytest.mark.parametrize(
    ("n_bits", "said"),
    [
        ({"op_inputs": 3}, "op_weights"),
        ({"op_inputs": 3, "op_weight": 3}, "did you mean 'op_weights'"),
        ({"op_inputs": 3, "op_weights": 0}, r"n_bits\['op_weights'\]=0"),
        (0, "n_bits=0"),
        (2.5, "n_bits=2.5"),
        (True, "n_bits=True"),
        (None, "n_bits=None"),
    ],
)
def test_bits_that_are_none(n_bits: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        get_n_bits_dict(n_bits)


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (None, None),
        (6, Rounding(6, True)),
        ({"n_bits": 6}, Rounding(6, True)),
        ({"n_bits": 6, "method": "EXACT"}, Rounding(6, True)),
        ({"n_bits": 6, "method": "approximate"}, Rounding(6, False)),
        ({"n_bits": 6, "method": fhe.Exactness.EXACT}, Rounding(6, True)),
        ({"n_bits": 6, "method": fhe.Exactness.APPROXIMATE}, Rounding(6, False)),
        ({"n_bits": "auto", "method": fhe.Exactness.APPROXIMATE}, Rounding(None, False)),
    ],
)
def test_rounding(threshold: Any, expected: Rounding | None) -> None:
    assert Rounding.of(threshold) == expected


@pytest.mark.parametrize(
    ("threshold", "said"),
    [
        (1, "from 2 to 8"),
        (9, "from 2 to 8"),
        ("auto", "from 2 to 8"),
        (6.0, "from 2 to 8"),
        ({"n_bits": 1}, "from 2 to 8"),
        ({"method": "EXACT"}, "lacks n_bits"),
        ({"bits": 6}, "did you mean 'n_bits'"),
        ({"n_bits": 6, "method": "APROXIMATE"}, "did you mean 'APPROXIMATE'"),
        ({"n_bits": 6, "method": 3}, "rounding method 3"),
    ],
)
def test_roundings_that_are_none(threshold: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Rounding.of(threshold)
