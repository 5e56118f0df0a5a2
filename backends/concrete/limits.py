"""What Concrete takes, and what it asks for it. Data only: nothing here imports Concrete."""

from __future__ import annotations

from lutra.backends.base import Limits

LIMITS = Limits(lookup_bits=16, value_bits=60)
"""Above 16 bits at a look-up the optimizer finds no parameters; encodings reach 62 bits,
of which alignment to a look-up may take one or two."""

PRICES = (27e6, 31e6, 43e6, 73e6, 101e6, 236e6, 549e6, 1250e6, 4134e6, 5402e6, 5626e6, 6374e6)
"""Price of one look-up with an input of 1, 2, ... 12 bits, the noise at its input being low.

In the optimizer's unit, "complexity", at 128 bits of security and p_error 1e-5; about 4e9 to 6e9 of
it take one second of one core. Wider look-ups are built from several bootstraps.
"""


def price(bits: int) -> float:
    """Estimated price of one look-up whose input has that many bits."""
    last = len(PRICES)
    return PRICES[bits - 1] if bits <= last else PRICES[-1] * 1.12 ** (bits - last)
