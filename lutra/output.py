"""What commands print for scripts, and what they tell of their work."""

from __future__ import annotations

import json
import logging
from typing import Annotated, Any

import numpy as np
import typer

Json = Annotated[
    bool, typer.Option("--json", help="print one JSON object for scripts, and nothing else")
]


def print_json(data: dict[str, Any]) -> None:
    """One line; arrays and numbers of numpy become lists and numbers, infinities null."""
    typer.echo(json.dumps(_plain(data), allow_nan=False))


def _plain(data: Any) -> Any:
    if isinstance(data, dict):
        return {str(key): _plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_plain(value) for value in data]
    if isinstance(data, np.ndarray | np.generic):
        return _plain(data.tolist())
    if isinstance(data, float) and not np.isfinite(data):
        return None
    return data


def show_log(verbosity: int) -> None:
    """Let the logger `lutra` speak on standard error: warnings, with 1 its steps, with 2 passes."""
    from rich.console import Console
    from rich.logging import RichHandler

    handler = RichHandler(console=Console(stderr=True), show_path=False, show_level=verbosity > 1)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("lutra")
    logger.handlers = [handler]
    logger.setLevel([logging.WARNING, logging.INFO, logging.DEBUG][min(verbosity, 2)])
