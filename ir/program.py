"""A whole module made ready to run: encode, circuit and decode one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from lutra.ir.core import Module
from lutra.ir.interpreter import Interpreter
from lutra.ir.types import Array

Circuit = Callable[[Sequence[Array]], Sequence[Array]]
"""Runs the circuit: quantized inputs to integer results, all (samples, *shape)."""


class Program:
    """Runs a module on samples by the reference meaning, partitioned or not.

    `circuit`, if given, takes the place of the reference meaning of the circuit: a backend's
    executable, or encryption, evaluation and decryption.
    """

    def __init__(self, module: Module) -> None:
        self.module = module
        self._interpreters = {name: Interpreter(g) for name, g in module.graphs.items()}

    def run(self, inputs: Mapping[str, Array], circuit: Circuit | None = None) -> tuple[Array, ...]:
        """The module's outputs (samples, *shape) for inputs of that shape by name."""
        if not self.module.partitioned:
            return self._interpreters["main"].run(inputs)
        run_circuit = circuit or self._interpreters["circuit"].run
        results = run_circuit(self._interpreters["encode"].run(inputs))
        known = {**inputs, **dict(zip(self.module.circuit.output_names, results, strict=True))}
        names = (node.name for node in self.module.decode.inputs)
        return self._interpreters["decode"].run({name: known[name] for name in names})

    @property
    def violations(self) -> int:
        """Values seen so far outside the range that an `assume` claims."""
        return sum(sum(i.violations.values()) for i in self._interpreters.values())
