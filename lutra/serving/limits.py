"""What a server lets its clients do."""

from __future__ import annotations

from dataclasses import dataclass, fields

from lutra.ir.errors import InputError


@dataclass(frozen=True)
class Limits:
    """Limits of a server. Error I005 where one is not above 0.

    key_bytes: size of a client's evaluation keys.
    store_bytes: size of all clients' evaluation keys.
    clients: clients whose keys are kept at once.
    key_seconds: how long keys are kept after their client was last heard of.
    input_bytes: size of a request's encrypted inputs.
    queue: requests that wait or run, of all clients; uploads of inputs included.
    client_queue: the same, of one client.
    uploads: uploads of keys at once.
    stall_seconds: how long an upload may pause.
    run_seconds: how long one request may run.
    result_seconds: how long results wait for being fetched.
    """

    key_bytes: int = 1 << 30
    store_bytes: int = 20 << 30
    clients: int = 100
    key_seconds: float = 30 * 86400.0
    input_bytes: int = 16 << 20
    queue: int = 32
    client_queue: int = 8
    uploads: int = 4
    stall_seconds: float = 30.0
    run_seconds: float = 3600.0
    result_seconds: float = 3600.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise InputError("I005", f"{field.name}={value!r} is not above 0")
