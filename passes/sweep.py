"""Values of a graph on samples, while a pass goes through the graph from front to back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from lutra.ir.core import Graph, Value
from lutra.ir.interpreter import Interpreter
from lutra.ir.types import Array


class Sweep:
    """Runs a graph from where it was left: what was asked for before is not computed again.

    The pass may change what it has not asked for yet, and whatever stands behind that. It says by
    `keep` what it will ask for, so that nothing else stays in memory.

    feeds: arrays (samples, *shape) for the graph's inputs, by name.
    """

    def __init__(self, graph: Graph, feeds: Mapping[str, Array]) -> None:
        self.graph = graph
        self._feeds = feeds
        self._known: dict[Value, Array] = {}
        self._count = 0

    def run(self, values: Sequence[Value], count: int) -> list[Array]:
        """Arrays (samples, *shape) of some values, on the first so many samples."""
        if count > self._count:
            self._known, self._count = {}, count
        missing = [value for value in dict.fromkeys(values) if value not in self._known]
        if missing:
            feeds = {name: array[: self._count] for name, array in self._feeds.items()}
            interpreter = Interpreter(self.graph, missing, self._known)
            self._known.update(zip(missing, interpreter.run(feeds, self._known), strict=True))
        return [self._known[value][:count] for value in values]

    def keep(self, pending: Iterable[Value]) -> None:
        """Forget what these values, which will be asked for, do not depend on directly."""
        kept: dict[Value, Array] = {}
        stack = list(pending)
        seen = set(stack)
        while stack:
            value = stack.pop()
            if value in self._known:
                kept[value] = self._known[value]
                continue
            fresh = [operand for operand in value.owner.operands if operand not in seen]
            seen.update(fresh)
            stack += fresh
        self._known = kept
