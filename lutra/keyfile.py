"""Secret keys in files, under a passphrase or in the clear for their owner alone.

    LUTRA-KEYS          the first line
    {...}               the second: format, and under a passphrase how the file key is derived
    ...                 the keys; under a passphrase in chunks, each sealed

The file key comes from the passphrase by scrypt (RFC 7914); chunks are sealed with AES-256-GCM
under nonces that count them and mark the last, so that none can be altered, moved or left out
(the STREAM construction: Hoang et al., "Online Authenticated-Encryption", CRYPTO 2015).
"""

from __future__ import annotations

import json
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lutra.archive import write_atomically
from lutra.ir.errors import InputError, KeysError

MAGIC = b"LUTRA-KEYS\n"

FORMAT = 1

CHUNK = 1 << 26
"""Bytes that are sealed at once."""

TAG = 16
"""Bytes by which a seal lengthens a chunk."""

SCRYPT = {"n": 1 << 17, "r": 8, "p": 1}
"""128 MB of memory and a third of a second for each guess of the passphrase."""

COST = 1 << 24
"""Reading refuses files that ask for more than n * r * p, 16 times that."""

OWNER = 0o600


def write_keys(path: str | Path, content: bytes, passphrase: str | None) -> None:
    """Write keys, readable by the file's owner only. Errors I004; I008 without `cryptography`."""
    header: dict[str, Any] = {"format": FORMAT}
    if passphrase is not None:
        header["scrypt"] = {**SCRYPT, "salt": secrets.token_hex(16)}
    line = json.dumps(header).encode() + b"\n"
    body = content if passphrase is None else _sealed(content, line, header["scrypt"], passphrase)
    write_atomically(Path(path), MAGIC + line + body, OWNER)


def read_keys(path: str | Path, passphrase: str | None) -> bytes:
    """The keys that `write_keys` wrote.

    Errors: K001 where there are none, or others than the file's owner may read unsealed ones, K002
    where the passphrase is another or missing; I008 without `cryptography`.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise KeysError("K001", f"{path} cannot be read: {error.strerror}") from error
    line, header = _header(path, content)
    body = content[len(MAGIC) + len(line) :]
    if "scrypt" in header:
        if passphrase is None:
            raise KeysError("K002", f"{path} is sealed", help="give its passphrase")
        return _opened(path, body, line, header["scrypt"], passphrase)
    if mode & 0o077:
        raise KeysError(
            "K001",
            f"{path} holds secret keys, and others than you may read it (mode {mode:o})",
            help=f"chmod 600 {path}; make new keys if somebody may have read them",
        )
    return body


def _header(path: Path, content: bytes) -> tuple[bytes, dict[str, Any]]:
    end = content.find(b"\n", len(MAGIC)) + 1
    line = content[len(MAGIC) : end]
    try:
        header = json.loads(line)
        known = content.startswith(MAGIC) and header["format"] == FORMAT
    except (ValueError, TypeError, KeyError, RecursionError):
        known = False
    if not known:
        raise KeysError("K001", f"{path} holds no keys of this version of Lutra")
    return line, header


def _sealed(content: bytes, line: bytes, scrypt: dict[str, Any], passphrase: str) -> bytes:
    seal = _cipher(scrypt, passphrase)
    pieces = range(0, max(1, len(content)), CHUNK)
    chunks = [content[start : start + CHUNK] for start in pieces]
    return b"".join(
        seal.encrypt(nonce, chunk, line)
        for nonce, chunk in zip(_nonces(len(chunks)), chunks, strict=True)
    )


def _opened(path: Path, body: bytes, line: bytes, scrypt: dict[str, Any], passphrase: str) -> bytes:
    seal = _cipher(scrypt, passphrase)
    from cryptography.exceptions import InvalidTag

    pieces = range(0, max(1, len(body)), CHUNK + TAG)
    chunks = [body[start : start + CHUNK + TAG] for start in pieces]
    try:
        return b"".join(
            seal.decrypt(nonce, chunk, line)
            for nonce, chunk in zip(_nonces(len(chunks)), chunks, strict=True)
        )
    except (InvalidTag, ValueError) as error:
        raise KeysError(
            "K002", f"{path} does not open: another passphrase, or an altered file"
        ) from error


def _nonces(count: int) -> Iterator[bytes]:
    """12 bytes for each chunk: its number, and whether it is the last. Every file has a new key."""
    for index in range(count):
        yield bytes([index == count - 1]) + index.to_bytes(11, "big")


def _cipher(scrypt: dict[str, Any], passphrase: str) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
    except ImportError as error:
        raise InputError(
            "I008", "passphrases need `cryptography`", help="pip install cryptography"
        ) from error
    try:
        n, r, p = (int(scrypt[name]) for name in SCRYPT)
        if not 0 < n * r * p <= COST:
            raise ValueError("a cost out of bounds")
        kdf = Scrypt(salt=bytes.fromhex(scrypt["salt"]), length=32, n=n, r=r, p=p)
    except (KeyError, TypeError, ValueError) as error:
        raise KeysError("K001", f"the key file asks for no usual scrypt: {error}") from error
    return AESGCM(kdf.derive(passphrase.encode()))
