"""Noise and work of TFHE's operations, as functions of their parameters.

The formulas are those published for Concrete's optimizer: Bergerat et al., "Parameter Optimization
and Larger Precision for (T)FHE", J. Cryptology 2023; noise of the bootstrap and of key switches
after Chillotti et al., "Improved Programmable Bootstrapping with Larger Precision and Efficient
Arithmetic Circuits for TFHE", ASIACRYPT 2021. Keys are binary, the modulus is 2^64, and the Fourier
transform keeps 53 bits. Variances are relative to the square of the modulus.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from lutra.ir.types import Array

MODULUS = 64
"""Bits of the ciphertexts' modulus."""
MANTISSA = 53
"""Bits that the Fourier transform keeps."""
FFT_WEIGHT = -2.57722494
"""log2 of the factor of the transform's error, measured by Concrete's authors."""
CURVES = {
    128: (-0.025696778711484593, 2.675931372549016),
    132: (-0.024891456582633045, 2.65734593837534),
}
"""Slope and bias of log2 of the noise that is secure, by the dimension; from the Lattice Estimator
(Albrecht et al., "On the concrete hardness of Learning with Errors", J. Math. Cryptology 2015)."""
SMALLEST_DIMENSION = 450
LEVELS = 32
"""Deepest gadget decomposition that is looked at."""


def secure_variance(dimension: Array, security: int) -> Array:
    """Variance of fresh noise for keys of so many bits; at least that of the two lowest bits."""
    slope, bias = CURVES[security]
    deviation = np.maximum(slope * dimension + bias, 2.0 - MODULUS)
    return np.where(dimension < SMALLEST_DIMENSION, np.inf, np.exp2(2 * deviation))


def switched_modulus(dimension: Array, log2_size: Array) -> Array:
    """Variance that comes of rounding a ciphertext to 2 * size steps, before a blind rotation."""
    return np.asarray((1 / 12 + dimension / 24) * np.exp2(-2.0 * (log2_size + 1)))


def keyswitch_work(source: Array, target: Array, level: Array) -> Array:
    """Work of switching from keys of `source` to keys of `target` bits."""
    products = source * level
    return products + products * (target + 1) + (products - 1) * (target + 1) + 1


@cache
def keyswitch_noise(dimensions: tuple[int, ...], security: int) -> Array:
    """Variance for each bit of the source's key, [dimensions, levels].

    For switches to keys of these dimensions, of 1 to LEVELS levels, each with its best base.
    """
    level = np.arange(1, LEVELS + 1)[:, None]
    log2_base = np.arange(1, MODULUS)
    fresh = secure_variance(np.array(dimensions, dtype=np.float64), security)[:, None, None]
    square = np.exp2(2.0 * log2_base)
    dropped = np.exp2(-2.0 * log2_base * level) / 24
    noise = dropped + level * fresh * (square + 2) / 12
    noise = np.where(log2_base * level > MODULUS, np.inf, noise)
    return np.asarray(np.minimum.accumulate(noise.min(-1), -1))


@dataclass(frozen=True)
class Rotations:
    """What blind rotations may be built on: the shapes of their ciphertexts.

    k, log2_size: dimension and log2 of the polynomials' size, [shapes].
    dimension: bits of the key under which results are, [shapes].
    fresh: variance of fresh ciphertexts under it, [shapes].
    noise, work: for each bit of the key that rotates, [shapes, levels].
    """

    k: Array
    log2_size: Array
    dimension: Array
    fresh: Array
    noise: Array
    work: Array


@cache
def rotations(security: int) -> Rotations:
    """All shapes that Concrete looks at, except insecure ones."""
    pairs = [(k, n) for n in range(8, 18) for k in range(1, 7) if k << n >= 2 * SMALLEST_DIMENSION]
    k, log2_size = np.array(pairs, dtype=np.float64).T
    size = np.exp2(log2_size)
    fresh = secure_variance(k * size, security)
    level = np.arange(1, LEVELS + 1)
    transform = size * (log2_size + 1)
    grown = (k + 1)[:, None]
    work = grown * (level + 1) * transform[:, None] + grown**2 * level * size[:, None]
    noise = _external_product(k, size, fresh)
    return Rotations(k, log2_size, k * size, fresh, noise, work)


def _external_product(k: Array, size: Array, fresh: Array) -> Array:
    """Variance of one external product, [shapes, levels], each with its best base."""
    k, size, fresh = (v[:, None, None] for v in (k, size, fresh))
    level = np.arange(1, LEVELS + 1)[:, None]
    log2_base = np.arange(1, MODULUS)
    square = np.exp2(2.0 * log2_base)
    unit = 2.0 ** (-2 * MODULUS)
    key = level * (k + 1) * size * (square + 2) / 12 * fresh
    dropped = np.exp2(-2.0 * log2_base * level) / 24 * (1 + k * size / 2)
    rounded = unit * (k * size / 32 + (1 - k * size) ** 2 / 64)
    lost = 2.0 ** (FFT_WEIGHT - 2 * MANTISSA) * level * square * size**2 * (k + 1)
    noise = np.where(log2_base * level > MODULUS, np.inf, key + dropped + rounded + lost)
    return np.asarray(np.minimum.accumulate(noise.min(-1), -1))
