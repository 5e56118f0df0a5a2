"""What a search varies: bits for each layer and role, and what all layers share."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from lutra.ir.core import Graph, dependencies
from lutra.ir.ops import Conv, Lookup, MatMul
from lutra.passes import Pass, Pipeline
from lutra.passes.bits import Switch
from lutra.passes.calibrate import Method
from lutra.passes.drop_quantizers import DropQuantizers
from lutra.passes.import_quantized import ImportQuantized
from lutra.passes.presets import Default, Qat

Role: TypeAlias = Literal["rounding", "weights", "activations", "output_weights"]
Variable: TypeAlias = tuple[Role, str]
"""What the bits are of: a role, and the layer by the name that options know it by."""

LEAST: Mapping[Role, int] = {"rounding": 2, "weights": 2, "activations": 2, "output_weights": 2}
MOST: Mapping[Role, int] = {"rounding": 10, "weights": 8, "activations": 10, "output_weights": 8}
DROPPING = (ImportQuantized(), DropQuantizers())
"""What makes a float model of one that brings its quantization."""


@dataclass(frozen=True)
class Setting:
    """One pipeline: `default`, or `qat` for models that bring their quantization.

    brings: whether the model's own quantization is kept, by `qat`.
    dropped: whether it is dropped, before `default`.
    bits: of each variable, sorted.
    rounding: whether accumulators are rounded; else they are read in full.
    exact: whether exactly: everywhere or nowhere, or the layers where they are.
    """

    brings: bool
    bits: tuple[tuple[Variable, int], ...]
    rounding: bool = True
    exact: bool | tuple[str, ...] = False
    margin: Any = Default.margin
    method: Method = Default.method
    inputs: int = 8
    prune: float | None = Default.prune
    slack: float = Qat.slack
    dropped: bool = False

    @classmethod
    def uniform(
        cls, brings: bool, variables: Iterator[Variable] | tuple[Variable, ...], **bits: int
    ) -> Setting:
        """The same bits for all variables of one role."""
        return cls(brings, tuple(sorted((v, bits[v[0]]) for v in variables)))

    def __getitem__(self, variable: Variable) -> int:
        return dict(self.bits)[variable]

    def changed(self, changes: Mapping[Variable, int]) -> Setting:
        """With other bits, as far as they are allowed."""
        bits = {**dict(self.bits), **changes}
        allowed = {v: min(max(n, LEAST[v[0]]), MOST[v[0]]) for v, n in bits.items()}
        return dataclasses.replace(self, bits=tuple(sorted(allowed.items())))

    def moved(self, variable: Variable, by: int) -> Setting | None:
        """With more or fewer bits of one variable; None beyond what is allowed."""
        new = self.changed({variable: self[variable] + by})
        return None if new == self else new

    @property
    def pipeline(self) -> str:
        """The text of the pipeline."""
        before = DROPPING if self.dropped else ()
        return str(Pipeline((*before, self._pass())))

    def _pass(self) -> Pass:
        rounding = self._of("rounding") if self.rounding else None
        if self.brings:
            return Qat(
                rounding=rounding,
                exact=bool(self.exact),
                slack=self.slack,
                margin=self.margin,
                method=self.method,
            )
        outputs = self._of("output_weights")
        return Default(
            rounding=rounding,
            exact=self._switch(),
            margin=self.margin,
            method=self.method,
            weights=self._of("weights") or Default.weights,
            activations=self._of("activations") or Default.activations,
            output_weights=outputs,
            inputs=self.inputs,
            prune=self.prune,
        )

    def _switch(self) -> Switch:
        """Where rounding is exact, as an option."""
        if isinstance(self.exact, bool):
            return self.exact
        return tuple((layer, True) for layer in self.exact)

    def exactly(self, layer: str) -> Setting | None:
        """With exact rounding of one more layer; None where it is."""
        layers = () if isinstance(self.exact, bool) else self.exact
        if self.exact is True or layer in layers:
            return None
        return dataclasses.replace(self, exact=tuple(sorted((*layers, layer))))

    def _of(self, role: Role) -> int | tuple[tuple[str, int], ...] | None:
        """The bits of a role as an option: one number where all layers have the same."""
        found = [(layer, bits) for (r, layer), bits in self.bits if r == role]
        numbers = {bits for _, bits in found}
        if len(numbers) <= 1:
            return numbers.pop() if numbers else None
        return (*found, ("*", max(numbers)))


def variables(circuit: Graph, brings: bool) -> tuple[Variable, ...]:
    """What there is to vary in a circuit, compiled with rounding if it ever is rounded."""
    found: dict[Variable, None] = {}
    read = dependencies(op.x for op in circuit.of(Lookup))
    for op in circuit.ops:
        if isinstance(op, Lookup) and op.loc:
            found["rounding", op.loc[0]] = None
            if not brings:
                found["activations", op.loc[-1]] = None
        elif isinstance(op, Conv | MatMul) and op.loc and not brings:
            found[("weights", op.loc[0]) if op in read else ("output_weights", "*")] = None
    return tuple(found)
