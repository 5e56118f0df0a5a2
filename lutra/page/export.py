"""`lutra export`: a circuit as a file for other programs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from lutra.archive import write_atomically
from lutra.ir.errors import InputError
from lutra.page.drawing import Drawing


def _onnx(drawing: Drawing) -> bytes:
    from lutra.backends.onnx import model_of

    return bytes(model_of(drawing.graph, "leading").SerializeToString(deterministic=True))


FORMATS: dict[str, Callable[[Drawing], bytes]] = {
    ".dot": lambda drawing: drawing.dot().encode(),
    ".onnx": _onnx,
    ".svg": lambda drawing: drawing.svg().encode(),
}
"""What each ending of a file's name stands for."""


def export(drawing: Drawing, path: str | Path) -> None:
    """Write a circuit to a file: for Graphviz, for Netron and onnxruntime, or as a picture.

    Errors: I005 for another ending, I004 where nothing can be written, B002 where an operation has
    no form in ONNX.
    """
    target = Path(path)
    check_format(target)
    write_atomically(target, FORMATS[target.suffix](drawing))


def check_format(path: Path) -> None:
    """Error I005 for an ending that stands for nothing."""
    if path.suffix not in FORMATS:
        raise InputError(
            "I005", f"{path} names no format", help=f"end it with {', '.join(sorted(FORMATS))}"
        )


def command(
    model: Annotated[Path, typer.Argument(help="a model that `lutra compile` wrote")],
    output: Annotated[Path, typer.Argument(help="a file that ends with .dot, .onnx or .svg")],
) -> None:
    """Write a compiled model's integer circuit as ONNX (for Netron), a graph, or a picture."""
    import lutra
    from lutra.page.drawing import drawing

    check_format(output)
    export(drawing(lutra.load(model)), output)
    typer.echo(f"written   {output}")
