"""What passes require of a module, checked before any of them runs."""

from __future__ import annotations

from collections.abc import Sequence

from lutra.ir.core import Module
from lutra.ir.errors import PipelineError
from lutra.ir.ops import Dequantize, Lookup, Observe
from lutra.passes.base import Pass

FACTS = {
    "one graph": "the module is not partitioned yet",
    "observed": "float values to be quantized carry their calibrated ranges",
    "quantized": "quantize and dequantize stand between floats and integers",
    "regions": "linear operations are integer ones, float regions between them not yet tables",
    "tables": "float regions are table look-ups",
    "partitioned": "encode, circuit and decode are graphs of their own",
}
"""What a pass may require, provide or remove."""


def facts(module: Module) -> set[str]:
    """The facts that hold for a module as it is."""
    found = {"partitioned" if module.partitioned else "one graph"}
    for graph in module.graphs.values():
        if any(True for _ in graph.of(Observe)):
            found.add("observed")
        if any(True for _ in graph.of(Dequantize)):
            found |= {"quantized", "regions", "tables"}
        if any(True for _ in graph.of(Lookup)):
            found.add("tables")
    return found


def check_order(passes: Sequence[Pass], module: Module) -> None:
    """Error P009 if a pass requires a fact that neither the module nor a pass before provides."""
    known = facts(module)
    removed: dict[str, str] = {}
    for item in passes:
        for fact in sorted(item.requires - known):
            givers = sorted({other.name for other in passes if fact in other.provides})
            if fact in removed:
                help = f"put `{item.name}` before `{removed[fact]}`"
            elif givers:
                help = f"put `{givers[0]}` before `{item.name}`"
            else:
                names = " or ".join(f"`{name}`" for name in _providers(fact)) or "a pass"
                help = f"add {names}, which provides it, before `{item.name}`"
            raise PipelineError(
                "P009", f"pass `{item.name}` requires `{fact}`: {FACTS.get(fact, '')}", help=help
            )
        known = (known | item.provides) - item.removes
        removed.update(dict.fromkeys(item.removes, item.name))


def _providers(fact: str) -> list[str]:
    """The built-in passes that provide a fact."""
    from lutra.passes import registry  # which knows the passes, and they this

    return [name for name, found in registry.built_in().items() if fact in found.provides]
