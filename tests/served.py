"""A model of few bits, saved, and keys for it that are made once."""

from pathlib import Path

import lutra
from lutra.client import Client
from small_models import FEW_BITS, mlp, points

P_ERROR = 1e-7
"""So small that no look-up fails in the tests' lifetime."""


def saved(folder: Path, hidden: int = 3) -> Path:
    """A saved model, exact under encryption within the ranges of `points`."""
    path = folder / f"mlp{hidden}.lutra"
    lutra.compile(mlp(hidden=hidden), points(), FEW_BITS, p_error=P_ERROR).save(path)
    return path


def client_of(path: Path) -> Client:
    """A client with keys."""
    client = Client(path)
    client.keygen()
    return client
