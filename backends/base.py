"""What a backend is: a name, its limits, and `emit`, which makes a circuit executable.

A backend is any object or module with these three. Backends do not judge: legality is checked
against `limits` before emission.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from lutra.ir.core import Graph, Op
from lutra.ir.types import Array


@dataclass(frozen=True)
class Limits:
    """What circuits a backend takes, in bits of `Int.bits`."""

    lookup_bits: int = 16
    """Widest input of one table look-up, after rounding."""
    value_bits: int = 62
    """Widest value anywhere in the circuit."""


class Executable(Protocol):
    """A circuit made ready to run."""

    def run(self, *inputs: Array) -> tuple[Array, ...]:
        """Integers (samples, *shape) for each input of the circuit, in its order; so the results.

        Raises InputError (I...) where an input has the wrong shape or leaves its range.
        """
        ...


class OpPrice(Protocol):
    """What one operation is predicted to cost."""

    @property
    def op(self) -> Op: ...

    @property
    def price(self) -> float: ...


class Price(Protocol):
    """A predicted price of one sample: in total, and of the operations that bootstrap."""

    @property
    def total(self) -> float: ...

    @property
    def p_error(self) -> float: ...

    @property
    def strategy(self) -> str: ...

    @property
    def ops(self) -> Sequence[OpPrice]: ...


@runtime_checkable
class Pricing(Protocol):
    """A backend that predicts prices without emitting circuits. Options are those of `emit`."""

    def price_of(self, circuit: Graph, **options: Any) -> Price:
        """Price of one sample."""
        ...

    def look_up_price(self, bits: int, growth: float = 1.0, **options: Any) -> float:
        """Price of one look-up that reads `bits` bits, among many of its kind.

        growth: factor on the variance of noise since the look-ups before: for a layer, the sum of
        its squared integer weights, relative to the rounding step's square.
        """
        ...


@runtime_checkable
class Measured(Protocol):
    """An executable that also knows facts about itself."""

    @property
    def statistics(self) -> Mapping[str, float]:
        """Facts by name: counts of bootstraps, prices, key sizes in bytes, events so far."""
        ...


class Backend(Protocol):
    """An object or module that emits circuits. Third parties name theirs as an entry point."""

    @property
    def name(self) -> str: ...

    @property
    def limits(self) -> Limits: ...

    @property
    def emit(self) -> Callable[..., Executable]:
        """emit(circuit, **options): the executable of an integer circuit.

        Options are keyword-only and each backend's own. Raises BackendError (B...).
        """
        ...


@runtime_checkable
class Deployable(Protocol):
    """A backend whose circuits run on a server that has no secret keys.

    Its executables have a `specification`: files by name, of which `client` needs those called
    CLIENT_PARTS, and `server` all. Errors A002, A004.
    """

    @property
    def CLIENT_PARTS(self) -> Sequence[str]: ...

    def client(self, parts: Mapping[str, bytes]) -> Any: ...

    def server(self, parts: Mapping[str, bytes]) -> Any: ...


def statistics_of(executable: Executable) -> dict[str, Any]:
    """What the executable knows of itself; empty where it keeps no statistics."""
    return dict(executable.statistics) if isinstance(executable, Measured) else {}
