"""Inputs that stay clear by the user's choice: see docs/security.md."""

from __future__ import annotations

from collections.abc import Collection

from lutra.ir.core import Input, Module
from lutra.ir.errors import InputError, did_you_mean
from lutra.ir.rewriter import Rewriter


def leave_clear(module: Module, names: Collection[str]) -> None:
    """Mark inputs of a module as clear, besides those that are.

    Errors I004: there is no such input, none would be left to encrypt, or `partition` has run.
    """
    names = [names] if isinstance(names, str) else list(names)
    if not names:
        return
    if module.partitioned:
        raise InputError("I004", "what is encrypted of a circuit's inputs is chosen already")
    inputs = {node.name: node for node in module.main.inputs}
    for name in names:
        if name not in inputs:
            raise InputError(
                "I004",
                f"the model has no input {name!r} to leave clear",
                help=did_you_mean(str(name), list(inputs)),
            )
    if all(node.clear or node.name in names for node in inputs.values()):
        raise InputError(
            "I004",
            "all inputs of the model would be clear: nothing would be encrypted",
            help="name those that the server may know, and leave out the others",
        )
    rewriter = Rewriter(module.main)
    for name in dict.fromkeys(names):
        rewriter.replace(inputs[name], Input(name, inputs[name].type, clear=True))
