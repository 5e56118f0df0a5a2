"""Modules in files, with their large arrays beside them."""

from pathlib import Path

import numpy as np
import pytest

from lutra.ir.errors import InputError, TextError
from lutra.ir.files import beside, read_arrays, read_module, write_arrays, write_module
from lutra.ir.parser import parse_module

TEXT = """%x = input : u4[1x2] in [0, 15]
%0 = matmul %x, w=[[3, -2, 1], [1, -4, 1]] : i8[1x3] in [-90, 60]
%1 = add_clear %0, c=[[1, 2, 3]] : i8[1x3] in [-88, 61]
return %1
"""


@pytest.mark.parametrize(("limit", "aside"), [(32, 0), (4, 1), (2, 2)])
def test_round_trip(tmp_path: Path, limit: int, aside: int) -> None:
    path = tmp_path / "net.lutra-ir"
    write_module(parse_module(TEXT), path, limit=limit)
    assert path.read_text().count("@") == aside
    assert beside(path).exists() == bool(aside)
    assert str(read_module(path)) == TEXT


def test_constants_that_are_given_come_first(tmp_path: Path) -> None:
    path = tmp_path / "net.lutra-ir"
    write_module(parse_module(TEXT), path, limit=4)
    given = {"c0": np.zeros((2, 3), np.int64)}
    with pytest.raises(TextError, match=r"the type is .* in \[0, 0\], not "):
        read_module(path, given)
    beside(path).unlink()
    with pytest.raises(TextError, match="@c0 is not among the constants"):
        read_module(path)


def test_arrays_may_have_any_name(tmp_path: Path) -> None:
    arrays = {"/in/x": np.arange(3), "file": np.float32(2), "": np.array(["a"])}
    write_arrays(tmp_path / "a.npz", arrays)
    found = read_arrays(tmp_path / "a.npz")
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


def test_errors(tmp_path: Path) -> None:
    path = tmp_path / "net.lutra-ir"
    with pytest.raises(InputError, match=r"I004.*net.lutra-ir cannot be read: No such file"):
        read_module(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"I002.*is no text"):
        read_module(path)
    path.write_text(TEXT)
    for content in (b"PK", b"", b"hello"):
        beside(path).write_bytes(content)
        with pytest.raises(InputError, match=r"I002.*lutra-ir.npz holds no arrays by name"):
            read_module(path)
    np.save(path.with_suffix(".npy"), np.arange(3))
    with pytest.raises(InputError, match="I002"):
        read_arrays(path.with_suffix(".npy"))
    with pytest.raises(InputError, match="I004"):
        read_arrays(tmp_path / "none.npz")
