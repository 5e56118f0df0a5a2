"""What a compiled circuit costs, in total and for each operation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lutra.backends.concrete.emission import FUNCTION, Program
from lutra.backends.concrete.library import concrete_compiler
from lutra.backends.concrete.native import Compiled
from lutra.ir.core import Op


@dataclass(frozen=True)
class OpStatistics:
    """The bootstraps of one operation: how many read how many bits, and the estimated price."""

    op: Op
    bootstraps_by_bits: Mapping[int, int]
    price: float

    @property
    def bootstraps(self) -> int:
        return sum(self.bootstraps_by_bits.values())


@dataclass(frozen=True)
class Statistics:
    """Costs of one run on one sample, and sizes in bytes.

    price: the optimizer's "complexity"; 4e9 to 6e9 of it take one second of one core.
    p_error, global_p_error: chance that one look-up, or any of one sample's, is off.
    bootstrap_key_bytes, keyswitch_key_bytes: in memory; a quarter or less where they travel.
    input_bytes, output_bytes: ciphertexts of one sample.
    strategy: which look-ups share parameters (see `Options`).
    ops: the operations that bootstrap, in order.
    """

    price: float
    p_error: float
    global_p_error: float
    bootstraps_by_bits: Mapping[int, int]
    bootstrap_key_bytes: int
    keyswitch_key_bytes: int
    secret_key_bytes: int
    input_bytes: int
    output_bytes: int
    strategy: str
    ops: tuple[OpStatistics, ...]

    @property
    def bootstraps(self) -> int:
        return sum(self.bootstraps_by_bits.values())

    def flat(self) -> dict[str, float]:
        """The numbers by name."""
        names = (
            *("bootstraps", "price", "p_error", "global_p_error"),
            *("bootstrap_key_bytes", "keyswitch_key_bytes", "secret_key_bytes"),
            *("input_bytes", "output_bytes"),
        )
        by_bits = {f"bootstraps_{b}_bits": float(n) for b, n in self.bootstraps_by_bits.items()}
        return {**{name: float(getattr(self, name)) for name in names}, **by_bits}


def statistics_of(program: Program, compiled: Compiled) -> Statistics:
    """What the compiler says of a compiled program."""
    feedback = compiled.feedback
    circuit = feedback.get_circuit_feedback(FUNCTION)
    ops = _per_op(program, compiled)
    total: Counter[int] = sum((Counter(op.bootstraps_by_bits) for op in ops), Counter())
    return Statistics(
        price=compiled.complexity,
        p_error=feedback.p_error,
        global_p_error=feedback.global_p_error,
        bootstraps_by_bits=dict(sorted(total.items())),
        bootstrap_key_bytes=feedback.total_bootstrap_keys_size,
        keyswitch_key_bytes=feedback.total_keyswitch_keys_size,
        secret_key_bytes=feedback.total_secret_keys_size,
        input_bytes=circuit.total_inputs_size,
        output_bytes=circuit.total_output_size,
        strategy=compiled.strategy,
        ops=ops,
    )


def _per_op(program: Program, compiled: Compiled) -> tuple[OpStatistics, ...]:
    """The total price, shared out by the work of each operation's bootstraps."""
    work = _work(compiled)  # without what the compiler found to be needless
    by_bits: dict[int, Counter[int]] = {index: Counter() for index in sorted(work)}
    for entry in program.bootstraps:
        if entry.op in work:
            by_bits[entry.op][entry.bits] += entry.count
    unit = compiled.complexity / (sum(work.values()) or 1.0)
    return tuple(
        OpStatistics(program.ops[index], dict(sorted(bits.items())), unit * work[index])
        for index, bits in by_bits.items()
    )


def _work(compiled: Compiled) -> dict[int, float]:
    """Work of each operation's bootstraps, in any unit."""
    native = concrete_compiler()
    bootstraps = (native.PrimitiveOperation.PBS, native.PrimitiveOperation.WOP_PBS)
    keys = compiled.info.get_keyset_info().bootstrap_keys()
    found: dict[int, float] = {}
    for entry in compiled.feedback.get_circuit_feedback(FUNCTION).statistics:
        if entry.operation in bootstraps:
            index = int(entry.location.split('"')[1])
            used = (i for kind, i in entry.keys if kind == native.KeyType.BOOTSTRAP)
            weight = sum(_bootstrap(keys[i]) for i in used)
            found[index] = found.get(index, 0.0) + entry.count * weight
    return found


def _bootstrap(key: Any) -> float:
    """Work of one bootstrap: a blind rotation over n GGSW ciphertexts of level l, dimension k, N.

    Each takes (k+1)(l+1) Fourier transforms and (k+1)^2 l products of N elements.
    """
    size, k, level = key.polynomial_size(), key.glwe_dimension(), key.level()
    transforms = (k + 1) * (level + 1) * size * (size.bit_length() - 1)
    return float(key.input_lwe_dimension() * (transforms + (k + 1) ** 2 * level * size))
