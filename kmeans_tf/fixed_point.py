"""Columns of float64 numbers cut into limbs that add without rounding.

A limb is a whole multiple of a power-of-two quantum, small enough that a chunk of rows adds
exactly in float64 and all rows add exactly in int64. A column whose range needs more bits than
one limb has gets several; limbs of all columns lie side by side, so that one matrix product
sums them all.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kmeans_tf.exact import float_halves, two_sum

CHUNK_BITS = 16  # rows that are added in float64 before going on in int64
LIMB_BITS = 35
_JOINED = 1 << 15  # numbers at a time, which stay in cache

Places = slice | np.ndarray


class WeightError(ValueError):
    """The weights are too large to be added exactly."""


@dataclass(frozen=True)
class FixedPoint:
    """How (n, d) numbers are cut into (n, c) limbs.

    Attributes:
        column: (c,) int64, the column that a limb belongs to; a column's limbs are adjacent,
            the coarsest first.
        quantum: (c,) float64, powers of two.
    """

    column: np.ndarray
    quantum: np.ndarray

    @classmethod
    def plan(cls, largest: np.ndarray, finest: np.ndarray, bits: int) -> "FixedPoint":
        """Limbs of at most `bits` bits for columns of magnitude `largest` (d,).

        `finest` (d,) holds the powers of two of which the numbers are (or are rounded to)
        multiples.
        """
        column, quantum = [], []
        for j, (top, q) in enumerate(zip(largest, finest, strict=True)):
            limbs = max(1, math.ceil(max(0.0, math.log2(top / q) if top else 0.0) / bits))
            column += [j] * limbs
            quantum += [q * 2.0 ** (bits * level) for level in reversed(range(limbs))]
        return cls(np.array(column, np.int64), np.array(quantum))

    def round(self, values: np.ndarray) -> np.ndarray:
        """(n, d) float64 rounded to each column's finest quantum."""
        last = np.append(self.column[1:] != self.column[:-1], True)
        finest = self.quantum[last]
        return np.rint(values / finest) * finest

    def split(self, values: np.ndarray) -> np.ndarray:
        """(n, d) float64 multiples of the finest quanta -> (n, c) limbs that add up to them."""
        if len(self.column) == values.shape[1]:
            return values
        limbs = np.empty((len(values), len(self.column)))
        rest = values.copy()
        for places, columns in self._levels():
            quantum = self.quantum[places]
            limb = rest[:, columns] / quantum
            np.rint(limb, out=limb)
            limb *= quantum
            limbs[:, places] = limb
            rest[:, columns] -= limb
        return limbs

    def spread(self, values: np.ndarray) -> np.ndarray:
        """(k, d) -> (k, c): of each limb the value of its column."""
        each_has_one = np.array_equal(self.column, np.arange(values.shape[1]))
        return values if each_has_one else values[:, self.column]

    def blocks(self, size: int) -> "Iterator[LimbBlock]":
        """The limbs of some columns after others, as many as have about `size` limbs."""
        ends = np.append(np.flatnonzero(np.diff(self.column)) + 1, len(self.column))
        first = 0
        while first < len(self.column):
            after = np.searchsorted(ends, first + size, "right")
            end = int(ends[max(after - 1, np.searchsorted(ends, first, "right"))])
            columns = slice(int(self.column[first]), int(self.column[end - 1]) + 1)
            limbs = FixedPoint(self.column[first:end] - columns.start, self.quantum[first:end])
            yield LimbBlock(limbs, columns, slice(first, end))
            first = end

    def times(self, factors: "FixedPoint") -> "FixedPoint":
        """How products of these limbs with those of one column of `factors` are counted.

        Its limbs are not adjacent: those of this for the first limb of the factor come first.
        """
        column = np.tile(self.column, len(factors.quantum))
        return FixedPoint(column, np.outer(factors.quantum, self.quantum).ravel())

    def count(self, sums: np.ndarray) -> np.ndarray:
        """(k, c) float64 sums of limbs -> (k, c) int64 whole numbers of quanta."""
        return (sums / self.quantum).astype(np.int64)

    def join(self, counts: np.ndarray) -> np.ndarray:
        """(k, c) int64 -> (k, d) float64, the limbs of a column added up and rounded once."""
        joined = np.empty((len(counts), int(self.column.max()) + 1))
        size = max(1, _JOINED // len(self.column))
        levels = self._levels()
        for start in range(0, len(counts), size):
            part = slice(start, start + size)
            (_, total), *others = [
                (columns, half * self.quantum[places])
                for places, columns in levels
                for half in float_halves(counts[part, places])
            ]
            rest = np.zeros_like(total)
            for columns, addend in others:
                total[:, columns], error = two_sum(total[:, columns], addend)
                rest[:, columns] += error
            joined[part] = total + rest
        return joined

    def _levels(self) -> list[tuple[Places, Places]]:
        """The places of each column's first limb, and which columns they are; of the second; ..."""
        order = np.argsort(self.column, kind="stable")
        ordered = self.column[order]
        level = np.empty(len(order), np.int64)
        level[order] = np.arange(len(order)) - np.searchsorted(ordered, ordered)
        of_levels = [np.flatnonzero(level == number) for number in range(level.max() + 1)]
        return [(_evenly(places), _evenly(self.column[places])) for places in of_levels]


@dataclass(frozen=True)
class LimbBlock:
    """The limbs of adjacent columns.

    Attributes:
        limbs: of these columns alone.
        columns: which they are.
        places: theirs, among the limbs of all columns.
    """

    limbs: FixedPoint
    columns: slice
    places: slice


def _evenly(places: np.ndarray) -> Places:
    """The same places, as a slice where they rise evenly: that takes no copy."""
    steps = np.diff(places)
    step = int(steps[0]) if len(steps) else 1
    if step < 1 or (steps != step).any():
        return places
    return slice(int(places[0]), int(places[-1]) + 1, step)


def lowest_bit(values: np.ndarray) -> float:
    """The largest power of two of which all (n,) float64 values are multiples; inf for zeros."""
    values = values[values != 0]
    if not len(values):
        return np.inf
    if (values == values[0]).all():  # as where nothing is weighted
        values = values[:1]
    fraction, exponent = np.frexp(values)
    significand = np.ldexp(fraction, 53).astype(np.int64)
    return float(np.ldexp((significand & -significand).astype(np.float64), exponent - 53).min())


def limb_bits(weight_bits: int, total_weight: int) -> int:
    """The widest limb whose weighted sums are exact.

    Args:
        weight_bits: bits of the largest limb of a weight.
        total_weight: the most that a limb of all weights adds up to.

    Raises:
        WeightError: the total weight leaves no room.
    """
    in_chunk = 53 - CHUNK_BITS - weight_bits
    in_all = 62 - max(1, total_weight).bit_length()
    bits = min(LIMB_BITS, in_chunk, in_all)
    if bits < 4:
        raise WeightError("their sum is too large to be exact: divide them all by one number")
    return bits


def ceil_power_of_two(value: float) -> float:
    """The smallest power of two that is at least `value` > 0."""
    fraction, exponent = math.frexp(value)
    return math.ldexp(1.0, exponent - 1 if fraction == 0.5 else exponent)
