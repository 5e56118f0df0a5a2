"""What travels between client and server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lutra.backends.concrete.library import concrete_compiler


@dataclass(frozen=True)
class Ciphertexts:
    """The inputs or outputs of one sample, encrypted unless they are clear."""

    values: tuple[Any, ...]

    def to_bytes(self) -> list[bytes]:
        """One string of bytes for each input or output."""
        return [value.serialize() for value in self.values]

    @classmethod
    def from_bytes(cls, parts: Sequence[bytes]) -> Ciphertexts:
        transport = concrete_compiler().TransportValue
        return cls(tuple(transport.deserialize(part) for part in parts))


@dataclass(frozen=True)
class EvaluationKeys:
    """The keys with which a server computes. They decrypt nothing."""

    native: Any

    def to_bytes(self) -> bytes:
        """Compressed; tens of megabytes."""
        data: bytes = self.native.serialize()
        return data

    @classmethod
    def from_bytes(cls, data: bytes) -> EvaluationKeys:
        return cls(concrete_compiler().ServerKeyset.deserialize(data))
