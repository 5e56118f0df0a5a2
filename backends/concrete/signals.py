"""Keeps signals out of the hands of native libraries.

Importing Concrete's compiler installs LLVM's signal handlers, and the first circuit that runs those
of its task runtime. They would end the process, with a long report, where Python raises
KeyboardInterrupt or BrokenPipeError.
"""

from __future__ import annotations

import ctypes
import signal
from collections.abc import Iterator
from contextlib import contextmanager

_SIZE = 256
"""Bytes that hold a C `struct sigaction` of any platform."""
_LIBC = ctypes.CDLL(None, use_errno=True)


@contextmanager
def signals_kept() -> Iterator[None]:
    """Signals are handled afterwards as they were before. For any thread."""
    before = {number: _action(number) for number in signal.valid_signals()}
    try:
        yield
    finally:
        for number, action in before.items():
            if action is not None and action.raw != _raw(number):
                _LIBC.sigaction(int(number), action, None)


def _action(number: int) -> ctypes.Array[ctypes.c_char] | None:
    """What a signal does now, as the C library tells; None for signals that are its own."""
    action = ctypes.create_string_buffer(_SIZE)
    return action if _LIBC.sigaction(int(number), None, action) == 0 else None


def _raw(number: int) -> bytes:
    action = _action(number)
    return b"" if action is None else action.raw
