"""Sums of float64 numbers that do not depend on the order of their terms.

A sum is held as a Python integer in units of 2**-UNIT_BITS, in which every finite float64 is a
whole number, so addition is associative and commutative to the bit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

UNIT_BITS = 1126  # the last bit of the smallest subnormal, written with a 53-bit significand
_LOW_BITS = 26  # a significand is added in two parts: 2**26 terms of 27 bits fit in 53
_MAX_TERMS = 1 << 26
LARGEST_PRODUCT = 2.0**990
_DIGIT_BITS = 32
_DIGIT = (1 << _DIGIT_BITS) - 1
_ALL_WHOLE = 1 << 53  # whole numbers up to it are float64 numbers
_FEW_TERMS = 1 << 21  # so many digits add without rounding in float64


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
    if len(flat) > 1 and (flat == flat[0]).all():  # as where nothing is weighted
        return len(flat) * exact_sum(flat[:1])
    return exact_sums(flat, np.zeros(len(flat), np.int64), 1)[0]


def exact_counts(counts: np.ndarray) -> tuple[int, ...]:
    """Whole numbers (k,) as exact sums of so many ones."""
    return tuple(count << UNIT_BITS for count in counts.tolist())


def to_float(total: int) -> float:
    """The float64 nearest to an exact sum."""
    return total / (1 << UNIT_BITS)


def two_product(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """p and e with a * b = p + e exactly (Dekker 1971), barring overflow and underflow.

    Nothing overflows where the factors and their product are below `LARGEST_PRODUCT`.
    """
    product = a * b
    a_high, a_low = _halves(a)
    b_high, b_low = _halves(b)
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product, error


def addable(weights: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """(n,) bool: which products of weights and costs (n,) `two_product` has exactly."""
    with np.errstate(over="ignore", invalid="ignore"):
        return weights * np.maximum(costs, 1.0) < LARGEST_PRODUCT


def two_sum(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """s and e with a + b = s + e exactly (Knuth 1969), barring overflow."""
    total = a + b
    rest = total - a
    return total, (a - (total - rest)) + (b - rest)


def _halves(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scaled = a * 134217729.0  # 2**27 + 1
    high = scaled - (scaled - a)
    return high, a - high


def float_halves(counts: np.ndarray) -> list[np.ndarray]:
    """int64 -> float64 arrays that add up to it exactly, one at least."""
    if counts.min(initial=0) >= -_ALL_WHOLE and counts.max(initial=0) <= _ALL_WHOLE:
        return [counts.astype(np.float64)]
    low = counts & _DIGIT
    high = counts - low
    return [half.astype(np.float64) for half in (high, low) if half.any()]


def power(quantum: float) -> int:
    """Of two, that a quantum is."""
    return math.frexp(quantum)[1] - 1


def units(count: int, exponent: int) -> int:
    """A whole number of a power of two, in units; what is below a unit is left out."""
    shift = exponent + UNIT_BITS
    return count << shift if shift >= 0 else count >> -shift


@dataclass(frozen=True)
class ExactVector:
    """Sums of float64 numbers from 0, by place, to the bit.

    Attributes:
        lowest: the place of the first digit: it counts 2**(32 * lowest).
        digits: (m, b) int64 in [0, 2**32), the least first. Equal sums have equal digits, but for
            zeros at either end.
    """

    lowest: int
    digits: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> "ExactVector":
        """(m,) finite float64 numbers from 0 as they are."""
        fraction, exponent = np.frexp(values)
        significand = np.ldexp(fraction, 53).astype(np.int64)
        place, shift = np.divmod(np.where(values > 0, exponent - 53, 0), _DIGIT_BITS)
        lowest = int(place.min(initial=0))
        width = int(place.max(initial=0)) - lowest + 3
        low = (significand & _DIGIT) << shift
        high = ((significand >> _DIGIT_BITS) << shift) + (low >> _DIGIT_BITS)
        digits = np.zeros((len(values), width), np.int64)
        row = np.arange(len(values))
        for offset, digit in enumerate((low & _DIGIT, high & _DIGIT, high >> _DIGIT_BITS)):
            digits[row, place - lowest + offset] = digit
        return cls(lowest, digits)

    def __len__(self) -> int:
        return len(self.digits)

    def __getitem__(self, places: np.ndarray | slice) -> "ExactVector":
        return ExactVector(self.lowest, self.digits[places])

    @classmethod
    def joined(cls, vectors: Sequence["ExactVector"]) -> "ExactVector":
        """The places of all, one after the other."""
        lowest = min(v.lowest for v in vectors)
        width = max(v.lowest + v.digits.shape[1] for v in vectors) - lowest
        return cls(lowest, np.concatenate([v._padded(lowest, width) for v in vectors]))

    def grouped(self, groups: np.ndarray, count: int) -> "ExactVector":
        """Adds up what has the same group (m,), of `count`; at most 2**31 numbers."""
        totals = np.zeros((count, self.digits.shape[1] + 1), np.int64)
        for place, digit in enumerate(self.digits.T):
            if len(groups) <= _FEW_TERMS:
                totals[:, place] += np.bincount(groups, digit, count).astype(np.int64)
            else:
                np.add.at(totals[:, place], groups, digit)
            totals[:, place + 1] += totals[:, place] >> _DIGIT_BITS
            totals[:, place] &= _DIGIT
        if not totals[:, -1].any():
            totals = totals[:, :-1]
        return ExactVector(self.lowest, totals)

    def to_floats(self) -> np.ndarray:
        """(m,) float64: the sums, rounded once for each digit from the highest down."""
        total = np.zeros(len(self))
        for place in reversed(range(self.digits.shape[1])):
            scale = _DIGIT_BITS * (self.lowest + place)
            total += np.ldexp(self.digits[:, place].astype(np.float64), scale)
        return total

    def _padded(self, lowest: int, width: int) -> np.ndarray:
        before = self.lowest - lowest
        return np.pad(self.digits, ((0, 0), (before, width - before - self.digits.shape[1])))
