"""Key files: sealed ones open with their passphrase alone, others are for their owner alone."""

import json
import stat
from pathlib import Path

import pytest

from lutra import keyfile
from lutra.ir.errors import InputError, KeysError
from lutra.keyfile import read_keys, write_keys

CONTENT = bytes(range(256)) * 9


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyfile, "SCRYPT", {"n": 1 << 10, "r": 8, "p": 1})
    monkeypatch.setattr(keyfile, "CHUNK", 1000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "my.keys"


@pytest.mark.parametrize("content", [b"", b"x", CONTENT[:1000], CONTENT])
@pytest.mark.parametrize("passphrase", [None, "", "horse  battery é"])
def test_what_is_written_is_read(path: Path, content: bytes, passphrase: str | None) -> None:
    if passphrase is not None:
        pytest.importorskip("cryptography")
    write_keys(path, content, passphrase)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_keys(path, passphrase) == content
    assert (CONTENT[:50] in path.read_bytes()) is (passphrase is None and len(content) > 50)


def test_sealed_keys_need_their_passphrase(path: Path) -> None:
    pytest.importorskip("cryptography")
    write_keys(path, CONTENT, "right")
    sealed = path.read_bytes()
    for passphrase in ("wrong", None):
        with pytest.raises(KeysError, match="K002"):
            read_keys(path, passphrase)
    write_keys(path, CONTENT, "right")
    assert path.read_bytes()[-100:] != sealed[-100:], "another salt, so another key"


def test_altered_files_do_not_open(path: Path) -> None:
    pytest.importorskip("cryptography")
    write_keys(path, CONTENT, "right")
    content = path.read_bytes()
    body = content.index(b"}\n") + 2
    chunk = 1000 + keyfile.TAG
    pieces = [content[:body], content[body : body + chunk], content[body + chunk : -320]]
    altered = {
        "flipped": content[:-1] + bytes([content[-1] ^ 1]),
        "cut": content[:-1],
        "without its last chunk": content[: body + chunk],
        "without its first chunk": pieces[0] + content[body + chunk :],
        "moved": pieces[0] + content[body + chunk : body + 2 * chunk] + pieces[1] + content[-320:],
        "empty": content[:body],
        "another salt": content.replace(b'"salt": "', b'"salt": "00'),
    }
    for name, each in altered.items():
        path.write_bytes(each)
        with pytest.raises(KeysError, match="K002"):
            pytest.fail(f"{name}: {len(read_keys(path, 'right'))}")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]\n",
        b'{"format": 2}\n',
        b"\xff\n",
        b"[" * 10**5 + b"\n",
    ],
    ids=lambda line: str(line[:9]),
)
def test_what_are_no_keys(path: Path, line: bytes) -> None:
    path.write_bytes(keyfile.MAGIC + line)
    with pytest.raises(KeysError, match="K001"):
        read_keys(path, None)


@pytest.mark.parametrize("change", [{"n": 1 << 40}, {"n": 3}, {"salt": "x"}, {"n": None}])
def test_unusual_costs_are_refused(path: Path, change: dict[str, object]) -> None:
    pytest.importorskip("cryptography")
    header = {"format": 1, "scrypt": {"n": 1024, "r": 8, "p": 1, "salt": "00"} | change}
    path.write_bytes(keyfile.MAGIC + json.dumps(header).encode() + b"\n" + bytes(20))
    with pytest.raises(KeysError, match="K001"):
        read_keys(path, "right")


def test_open_keys_that_others_may_read_are_refused(path: Path) -> None:
    write_keys(path, CONTENT, None)
    path.chmod(0o644)
    with pytest.raises(KeysError, match="chmod 600"):
        read_keys(path, None)


def test_missing_files_and_folders(path: Path) -> None:
    with pytest.raises(KeysError, match="K001"):
        read_keys(path, None)
    with pytest.raises(InputError, match="I004"):
        write_keys(path / "none" / "keys", CONTENT, None)
