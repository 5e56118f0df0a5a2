"""The circuit of a quantized module: keys, encryption, runs, and what it says of itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lutra.ir.analysis import look_ups
from lutra.ir.core import Graph, Op
from lutra.ir.errors import InputError
from lutra.ir.ops import Round
from lutra.ir.types import Array, Int, Shape
from lutra.model import Mode, Model

Filter = str | Sequence[str] | re.Pattern[str] | None
"""Names of ONNX nodes, or a pattern of them; None takes all."""


class FheCircuit:
    """What a compiled `QuantizedModule` runs under encryption, one sample at a time.

    Integers are those of `QuantizedModule.quantize_input` for one sample. A circuit of several
    inputs takes and gives tuples.

    Errors: I001, I002 and I004 where integers do not fit; B... from the backend.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.graph = CircuitGraph(model.module.circuit)

    def keygen(self, force: bool = False) -> None:
        """Generate the keys, unless there are some already; with `force` in any case."""
        self.model.keygen(force=force)

    def encrypt(self, *q: Any) -> Any:
        """The ciphertext of one sample's integers; a tuple of them for several inputs."""
        from lutra.backends.concrete import Ciphertexts

        encrypted = self._client.encrypt(*self._inputs(q))
        return _alone(tuple(Ciphertexts((value,)) for value in encrypted.values))

    def run(self, *encrypted: Any) -> Any:
        """The ciphertexts of the results, from those that `encrypt` gives."""
        from lutra.backends.concrete import Ciphertexts

        results = self._executable.run_encrypted(Ciphertexts(tuple(_flat(encrypted))))
        return _alone(tuple(Ciphertexts((value,)) for value in results.values))

    def decrypt(self, *results: Any) -> Any:
        """The integers of one sample, from what `run` gives."""
        from lutra.backends.concrete import Ciphertexts

        return _alone(self._client.decrypt(Ciphertexts(tuple(_flat(results)))))

    def encrypt_run_decrypt(self, *q: Any) -> Any:
        """`decrypt(run(encrypt(...)))`"""
        return self._evaluated(q, "encrypt")

    def simulate(self, *q: Any) -> Any:
        """The same without encryption, with look-up errors of the circuit's `p_error`."""
        return self._evaluated(q, "simulate")

    # --- what it says of itself -----------------------------------------------------------------
    @property
    def statistics(self) -> Mapping[str, Any]:
        """What the backend knows of the circuit, by name."""
        return self.model.circuit_statistics()

    @property
    def complexity(self) -> float:
        """The price of one sample, as Concrete's optimizer estimates it."""
        return float(self.statistics["price"])

    @property
    def programmable_bootstrap_count(self) -> int:
        """Programmable bootstraps of one sample."""
        return self.model.pbs_count

    @property
    def p_error(self) -> float:
        """The chance that one look-up is off."""
        return self.model.p_error

    @property
    def global_p_error(self) -> float:
        """The chance that any look-up of one sample is off."""
        return float(-np.expm1(self.model.pbs_count * np.log1p(-self.model.p_error)))

    @property
    def mlir(self) -> str:
        """The program as Concrete's compiler reads it."""
        return str(self._executable.text)

    def __str__(self) -> str:
        return str(self.graph)

    # --- inside -----------------------------------------------------------------------------------
    @property
    def _executable(self) -> Any:
        executable: Any = self.model.executable
        if not hasattr(executable, "client"):
            raise InputError("I005", f"backend `{self.model.backend}` does not encrypt")
        return executable

    @property
    def _client(self) -> Any:
        return self._executable.client

    def _inputs(self, q: Sequence[Any]) -> list[Array]:
        """One sample for each input, of the shapes that the circuit has."""
        nodes = self.model.module.circuit.inputs
        if len(q) != len(nodes):
            raise InputError("I004", f"{len(q)} inputs are given, the circuit has {len(nodes)}")
        return [_sample(np.asarray(a), node.type.shape) for a, node in zip(q, nodes, strict=True)]

    def _evaluated(self, q: Sequence[Any], mode: Mode) -> Any:
        results = self.model.evaluate([array[None] for array in self._inputs(q)], mode)
        return _alone(tuple(array[0] for array in results))


class CircuitGraph:
    """The integers of a circuit: how wide they are, by layer.

    What counts is what has to be encoded: inputs, outputs, and what table look-ups read, before
    any rounding.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def maximum_integer_bit_width(self, tag_filter: Filter = None) -> int:
        """Bits of the widest integer of the layers that the filter names; -1 without any."""
        return max((type.bits for _, type in self._named(tag_filter)), default=-1)

    def integer_range(self, tag_filter: Filter = None) -> tuple[int, int] | None:
        """Least and greatest integer of the layers that the filter names; None without any."""
        types = [type for _, type in self._named(tag_filter)]
        return (min(t.min for t in types), max(t.max for t in types)) if types else None

    def accumulators(self) -> dict[str, Int]:
        """The integers of each layer that computes some, by the names of its ONNX nodes."""
        found: dict[str, Int] = {}
        for op, type in _computed(self._graph):
            name = " + ".join(op.loc)
            other = found.get(name, type)
            found[name] = Int.of((), min(other.min, type.min), max(other.max, type.max))
        return found

    def format(self) -> str:
        """The circuit as text."""
        return str(self._graph)

    __str__ = format

    def _named(self, tag_filter: Filter) -> Iterator[tuple[str, Int]]:
        pattern = _pattern(tag_filter)
        if pattern is None:
            yield from ((node.name, node.result.int_type) for node in self._graph.inputs)
        for op, type in _computed(self._graph):
            if pattern is None or any(pattern.fullmatch(name) for name in op.loc):
                yield " + ".join(op.loc), type


def _computed(graph: Graph) -> Iterator[tuple[Op, Int]]:
    """What look-ups read, unless they read each other, and outputs; with who computed them."""
    read = []
    for site in look_ups(graph):
        for value in site.op.operands:
            owner = value.owner
            read.append(owner.x if isinstance(owner, Round) else value)
    for value in dict.fromkeys([*read, *graph.outputs]):
        if value.owner.operands or value in graph.outputs:
            yield value.owner, value.int_type


def _pattern(tag_filter: Filter) -> re.Pattern[str] | None:
    if tag_filter is None or isinstance(tag_filter, re.Pattern):
        return tag_filter
    names = [tag_filter] if isinstance(tag_filter, str) else list(tag_filter)
    return re.compile("|".join(map(re.escape, names)))


def _sample(array: Array, shape: Shape) -> Array:
    if array.shape != shape and array.shape[1:] == shape and len(array) == 1:
        return np.asarray(array[0])
    if array.shape != shape:
        raise InputError(
            "I001",
            f"one sample has shape {shape} here, not {array.shape}",
            help="circuits take one sample: x_q[[i]] of a batch",
        )
    return array


def _flat(given: Sequence[Any]) -> Iterator[Any]:
    for part in given:
        yield from _flat(part) if isinstance(part, tuple) else part.values


def _alone(parts: tuple[Any, ...]) -> Any:
    return parts[0] if len(parts) == 1 else parts
