"""Messages between client and server: what is none is refused, whatever it is."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lutra.archive import pack
from lutra.ir.errors import ServingError
from lutra.message import HEADER, Header, Message, pack_keys, pack_samples

SAMPLES = [[b"a", b"bc"], [b"", b"d" * 999], [b"e", b"f"]]


def header(**changes: object) -> Header:
    return Header(**({"kind": "inputs", "model": "m", "keys": "k", "samples": 3} | changes))  # type: ignore[arg-type]


def test_what_is_packed_is_read(tmp_path: Path) -> None:
    content = pack_samples(header(), SAMPLES)
    (tmp_path / "message").write_bytes(content)
    for source in (content, tmp_path / "message"):
        message = Message(source)
        assert message.header == header()
        assert message.samples(2) == SAMPLES
    assert Message(pack_keys(header(kind="keys", samples=0), b"keys")).keys() == b"keys"


def test_other_kinds_models_and_keys_are_refused() -> None:
    header().check("inputs", "m", "k")
    for arguments, code in [
        (("results", "m", "k"), "S001"),
        (("inputs", "n", "k"), "S002"),
        (("inputs", "m", "l"), "S002"),
    ]:
        with pytest.raises(ServingError, match=code):
            header().check(*arguments)  # type: ignore[arg-type]


def test_other_numbers_of_ciphertexts_are_refused() -> None:
    message = Message(pack_samples(header(), SAMPLES))
    for width in (1, 3):
        with pytest.raises(ServingError, match="S001"):
            message.samples(width)
    with pytest.raises(ServingError, match="S001"):
        message.keys()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        "[" * 10**5,
        json.dumps({"kind": "inputs", "model": "m", "keys": "k", "samples": 10**9}),
        json.dumps({"kind": "inputs", "model": "m", "keys": "k", "samples": -1}),
        json.dumps({"kind": "inputs", "model": "m", "keys": "k", "samples": True}),
        json.dumps({"kind": "inputs", "model": 1, "keys": "k", "samples": 1}),
        json.dumps({"kind": [], "model": "m", "keys": "k", "samples": 1}),
        json.dumps({"kind": "inputs", "model": "m" * 2000, "keys": "k", "samples": 1}),
        json.dumps({"kind": "inputs", "model": "m", "keys": "k", "samples": 1, "x": 1}),
    ],
    ids=lambda text: text[:9],
)
def test_headers_that_are_none(text: str) -> None:
    with pytest.raises(ServingError, match="S001"):
        Message(pack({HEADER: text.encode(), "0/0": b""}, compress=False))


@given(st.binary(max_size=300))
def test_any_bytes(content: bytes) -> None:
    with pytest.raises(ServingError, match="S001"):
        Message(content)


@given(st.data())
def test_flipped_bytes(data: st.DataObject) -> None:
    content = bytearray(pack_samples(header(), SAMPLES))
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        message = Message(bytes(content))
        message.header.check("inputs", "m", "k")
        assert message.samples(2) == SAMPLES  # a time stamp, an attribute of a file
    except ServingError:
        pass
