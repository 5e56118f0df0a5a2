"""Errors: declared codes, one rendering, suggestions."""

import pickle
import re
from pathlib import Path

import pytest

from lutra.ir.errors import CODES, Error, VerifyError, did_you_mean

ROOT = Path(__file__).parents[2]


def test_rendering() -> None:
    error = VerifyError("V001", "wrong", nodes=["/fc1"], lines=["%0 = neg %x"], help="do better")
    assert str(error) == (
        "error[V001]: wrong\n  --> /fc1\n   | %0 = neg %x\nhelp: do better"
    )  # fmt: skip


def test_errors_travel_between_processes() -> None:
    error = VerifyError("V001", "wrong", nodes=["/fc1"], lines=["%0 = neg %x"], help="do better")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is VerifyError
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)


def test_codes_are_declared() -> None:
    with pytest.raises(ValueError, match="undeclared"):
        Error("X999", "what")


def test_every_code_used_in_the_ir_is_declared() -> None:
    used = {
        code
        for path in (ROOT / "ir").rglob("*.py")
        for code in re.findall(r'"([A-Z]\d{3})"', path.read_text(encoding="utf-8"))
    }
    assert used <= set(CODES)


def test_did_you_mean() -> None:
    assert did_you_mean("matmull", ["matmul", "add"]) == "did you mean 'matmul'?"
    assert did_you_mean("zzz", ["b", "a"]) == "there are: a, b"
