"""How numbers become integers: the one list of rounding modes.

Their names and meanings are those of Python's `decimal`; QONNX and Brevitas spell them in capitals
(`ROUND` is `half_even`, `ROUND_TO_ZERO` is `down`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lutra.ir.types import Array


@dataclass(frozen=True)
class Rounding:
    """function(x + shift), or where `symmetric` the same of |x|, with the sign of x.

    function: the ONNX operator that rounds, one of `Ceil`, `Floor`, `Round`.
    """

    function: str
    shift: float = 0.0
    symmetric: bool = False

    @property
    def shifts_with_integers(self) -> bool:
        """Whether round(x + n) = round(x) + n for every integer n."""
        return self.function != "Round" and not self.symmetric

    def __call__(self, x: Array) -> Array:
        magnitude = np.abs(x) if self.symmetric else x
        rounded = FUNCTIONS[self.function](magnitude + x.dtype.type(self.shift))
        return np.asarray(np.sign(x) * rounded if self.symmetric else rounded)


FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "Ceil": np.ceil,
    "Floor": np.floor,
    "Round": np.rint,
}

ROUNDINGS = {
    "half_even": Rounding("Round"),
    "half_up": Rounding("Floor", 0.5, symmetric=True),
    "half_down": Rounding("Ceil", -0.5, symmetric=True),
    "up": Rounding("Ceil", symmetric=True),
    "down": Rounding("Floor", symmetric=True),
    "ceil": Rounding("Ceil"),
    "floor": Rounding("Floor"),
}
"""Every mode by name: to nearest with halves to the even integer, away from 0 or towards it; away
from 0 and towards it; up and down the number line."""
