"""Reads models of any kind that a frontend knows: ONNX, PyTorch, scikit-learn, what plugins add.

A frontend is a function. It takes a source, and perhaps `shapes=` and `examples=` (typical inputs),
and returns a module with one graph `main`; None where the source is not its own. A plugin names one
as an entry point of the group `lutra.frontends`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from onnx import ModelProto
from onnx.serialization import registry as formats

from lutra.frontends import sklearn, torch
from lutra.frontends.onnx import import_model
from lutra.frontends.onnx.importer import Further
from lutra.frontends.onnx.shapes import Shapes
from lutra.ir.core import Module
from lutra.ir.errors import ModelError, PipelineError
from lutra.ir.plugins import Plugins

OWN: dict[str, Callable[..., Module | None]] = {"sklearn": sklearn.read, "torch": torch.read}
"""Our own frontends beside ONNX."""

FRONTENDS = Plugins(
    "lutra.frontends",
    "frontend",
    lambda name: ["lutra"] if name in ("onnx", *OWN) else [],
    lambda name, found: "" if callable(found) else "is no function",
)


def import_source(
    source: Any,
    *,
    shapes: Shapes | None = None,
    examples: Any = None,
    further: Further | None = None,
) -> Module:
    """The graph `main` of a model of any kind.

    What is ONNX by its type or suffix is read as such. Else our own frontends are asked, then
    plugins, in the order of their names, and at last ONNX. A plugin that does not load is in the
    way of nobody, unless no other takes the source.

    examples: typical inputs, which PyTorch models need: see `lutra.frontends.torch.read`.

    further: as of `lutra.frontends.onnx.importer.import_model`.

    Errors: those of `lutra.frontends.onnx.import_model`; P006, P007; what a frontend raises.
    """
    given = {"shapes": shapes, "examples": examples, "further": further}
    for frontend in () if _is_onnx(source) else OWN.values():
        if (module := frontend(source, **_taken(frontend, given))) is not None:
            return module
    broken: list[str] = []
    for name in () if _is_onnx(source) else FRONTENDS.names():
        try:
            frontend = FRONTENDS.load(name)
        except PipelineError as error:
            broken.append(f"{error.code}: {error.message}")
            continue
        module = frontend(source, **_taken(frontend, given))
        if module is not None:
            return _checked(name, module)
    try:
        return import_model(source, shapes=shapes, native=True, further=further)
    except ModelError as error:
        if not broken:
            raise
        raise ModelError(
            error.code, error.message, nodes=error.nodes, lines=broken, help=error.help
        ) from error


def _is_onnx(source: Any) -> bool:
    if isinstance(source, str | Path):
        suffix = Path(source).suffix
        return formats.get_format_from_file_extension(suffix) is not None
    return isinstance(source, bytes | ModelProto)


def _taken(frontend: Callable[..., Any], given: dict[str, Any]) -> dict[str, Any]:
    """Those of the given arguments that a frontend takes."""
    parameters = inspect.signature(frontend).parameters.values()
    every = any(p.kind is p.VAR_KEYWORD for p in parameters)
    names = {p.name for p in parameters}
    return {k: v for k, v in given.items() if v is not None and (every or k in names)}


def _checked(name: str, module: Any) -> Module:
    if isinstance(module, Module) and list(module.graphs) == ["main"]:
        return module
    raise PipelineError(
        "P007",
        f"frontend {name!r} of {FRONTENDS.owners(name)[0]} gives no module with one graph `main`:"
        f" {type(module).__name__}",
    )
