"""A whole module made ready to run: encode, circuit and decode one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lutra.ir.core import Module
from lutra.ir.errors import InputError
from lutra.ir.interpreter import Interpreter
from lutra.ir.types import Array, Int

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
        results = (circuit or self._interpreters["circuit"].run)(self.encode(inputs))
        types = [value.int_type for value in self.module.circuit.outputs]
        return self.decode([wrapped(t, a) for t, a in zip(types, results, strict=True)], inputs)

    def encode(self, inputs: Mapping[str, Array]) -> tuple[Array, ...]:
        """What a partitioned module's client sends: the circuit's inputs, in its order."""
        return self._interpreters["encode"].run(inputs)

    def decode(
        self, results: Sequence[Array], inputs: Mapping[str, Array] | None = None
    ) -> tuple[Array, ...]:
        """A partitioned module's outputs, from what the circuit gave.

        inputs: the module's own, which few modules read here again. Error I004 where one is missing
        or the number of results is not the circuit's.
        """
        names = self.module.circuit.output_names
        return decoded(self._interpreters["decode"], names, results, inputs or {})

    @property
    def violations(self) -> int:
        """Values seen so far outside the range that an `assume` claims."""
        return sum(sum(i.violations.values()) for i in self._interpreters.values())


def wrapped(type: Int, array: Array) -> Array:
    """Outputs of a circuit as decryption gives them: in range, or wrapped around it.

    Of an output only the residue is encrypted, modulo the power of two that its range needs. What
    leaves the range, which only violations make possible, comes back at its other end.
    """
    modulus = 1 << max(1, (type.max - type.min).bit_length())
    first = (type.min + type.max + 1) // 2 - modulus // 2
    return np.asarray((array - first) % modulus + first)


def decoded(
    decode: Interpreter,
    names: Sequence[str],
    results: Sequence[Array],
    inputs: Mapping[str, Array],
) -> tuple[Array, ...]:
    """What the graph `decode` makes of the circuit's results, which have these names."""
    if len(results) != len(names):
        raise InputError("I004", f"{len(results)} results are given, not {len(names)}")
    known = {**inputs, **dict(zip(names, results, strict=True))}
    wanted = (node.name for node in decode.graph.inputs)
    outputs = decode.run({n: known[n] for n in wanted if n in known})
    counts = {np.shape(array)[0] for array in known.values() if np.ndim(array)}
    samples = 0 if 0 in counts else max(counts, default=1)
    # outputs that no input reaches are the same for all samples
    return tuple(np.broadcast_to(array, (samples, *array.shape[1:])) for array in outputs)
