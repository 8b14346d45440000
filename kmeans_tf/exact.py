"""Sums of float64 numbers that do not depend on the order of their terms.

A sum is held as a Python integer in units of 2**-UNIT_BITS, in which every finite float64 is a
whole number, so addition is associative and commutative to the bit.
"""

import numpy as np

UNIT_BITS = 1126  # the last bit of the smallest subnormal, written with a 53-bit significand
_LOW_BITS = 26  # a significand is added in two parts: 2**26 terms of 27 bits fit in 53
_MAX_TERMS = 1 << 26


def exact_sums(values: np.ndarray, groups: np.ndarray, count: int) -> list[int]:
    """Adds `values` (n,) float64 by `groups` (n,) integers in [0, count).

    Returns `count` Python integers in units of 2**-UNIT_BITS.

    Raises:
        ValueError: a value is NaN or infinite, or there are more than 2**26 values.
    """
    if len(values) > _MAX_TERMS:
        raise ValueError(f"{len(values)} values in one call; the limit is {_MAX_TERMS}")
    if not len(values):
        return [0] * count
    if not np.isfinite(values).all():
        raise ValueError("a sum of numbers that are not all finite")
    fraction, exponent = np.frexp(values)
    significand = np.ldexp(fraction, 53).astype(np.int64)
    lowest = int(exponent.min())
    width = int(exponent.max()) - lowest + 1
    cell = groups.astype(np.int64) * width + (exponent - lowest)
    high = np.bincount(cell, significand >> _LOW_BITS, count * width)
    low = np.bincount(cell, significand & ((1 << _LOW_BITS) - 1), count * width)
    totals = [0] * count
    for index in np.flatnonzero((high != 0) | (low != 0)):
        group, offset = divmod(int(index), width)
        term = (int(high[index]) << _LOW_BITS) + int(low[index])
        totals[group] += term << (lowest + offset - 53 + UNIT_BITS)
    return totals


def exact_sum(values: np.ndarray) -> int:
    """Adds `values` (any shape) float64; see `exact_sums` for the units."""
    flat = np.ravel(values)
    return exact_sums(flat, np.zeros(len(flat), np.int64), 1)[0]


def to_float(total: int) -> float:
    """The float64 nearest to an exact sum."""
    return total / (1 << UNIT_BITS)


def two_product(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """p and e with a * b = p + e exactly (Dekker 1971), barring overflow and underflow."""
    product = a * b
    a_high, a_low = _halves(a)
    b_high, b_low = _halves(b)
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product, error


def _halves(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scaled = a * 134217729.0  # 2**27 + 1
    high = scaled - (scaled - a)
    return high, a - high
