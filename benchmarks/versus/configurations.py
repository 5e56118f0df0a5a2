"""Concrete ML's settings: the whole grid, and a short list of those known to be its best."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

DEFAULT_P_ERROR = 2.0**-40
"""Concrete ML's own, where none is given."""

N_BITS = range(2, 9)
ROUNDING = range(3, 9)
P_ERRORS = (None, 0.01)

LABEL = re.compile(r"(?:n(?P<n>\d+)|qat)(?:_r(?P<r>\d+)(?P<method>[EA]))?(?:_p(?P<p>[\d.e-]+))?")


@dataclass(frozen=True)
class Configuration:
    """What Concrete ML compiles with.

    n_bits: of post-training quantization; none for a model that brings its quantization.
    rounding, exact: `rounding_threshold_bits` and its method; none keeps all bits.
    p_error: none is Concrete ML's default, 2^-40.
    """

    n_bits: int | None
    rounding: int | None = None
    exact: bool = False
    p_error: float | None = None

    @property
    def label(self) -> str:
        """Such as `n6_r5A_p0.01`: 6 bits, rounded approximately to 5, p_error 0.01."""
        parts = ["qat" if self.n_bits is None else f"n{self.n_bits}"]
        if self.rounding is not None:
            parts.append(f"r{self.rounding}{'E' if self.exact else 'A'}")
        if self.p_error is not None:
            parts.append(f"p{self.p_error:g}")
        return "_".join(parts)

    @classmethod
    def parse(cls, label: str) -> Configuration:
        """The configuration of a label. ValueError where it is none."""
        match = LABEL.fullmatch(label)
        if match is None:
            raise ValueError(f"{label!r} is no configuration such as 'n6_r5A_p0.01' or 'qat_r5A'")
        return cls(
            n_bits=int(match["n"]) if match["n"] else None,
            rounding=int(match["r"]) if match["r"] else None,
            exact=match["method"] == "E",
            p_error=float(match["p"]) if match["p"] else None,
        )


def grid(brings: bool) -> Iterator[Configuration]:
    """The whole grid; `brings` says that the model brings its own quantization."""
    for n_bits in (None,) if brings else N_BITS:
        for rounding, exact in ((None, False), *((r, e) for r in ROUNDING for e in (True, False))):
            for p_error in P_ERRORS:
                yield Configuration(n_bits, rounding, exact, p_error)


QUICK = {
    "checker_10": ("n7",),
    "checker_30": ("n7", "n7_p0.01"),
    "checker_100": ("n7_r7E", "n7_r7E_p0.01"),
    "digits_cnn": ("n7_r5A", "n5_r6A_p0.01"),
    "iris_fc": ("n7_r4A", "n3_r5A_p0.01"),
    "logreg14": ("n5_r5A", "n5_r5A_p0.01"),
    "qat_checker": ("qat_r5A", "qat_r5A_p0.01"),
    "qat_mlp12": ("qat_r6E", "qat_r6A_p0.01"),
}
"""The cheapest within 1 point of float accuracy, with p_error 2^-40 and with any.

From the whole grid. For the model `checker_10` nothing in it comes within 1 point.
"""

OTHERS = ("n5_r5A", "n6_r6A", "n6_r6A_p0.01", "n7")
"""For models that `QUICK` does not name."""


def quick(model: str, brings: bool) -> Iterator[Configuration]:
    """The short list for a model."""
    others = ("qat", "qat_r6A", "qat_r5A") if brings else OTHERS
    yield from map(Configuration.parse, QUICK.get(model, others))
