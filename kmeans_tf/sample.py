"""A bottom-m sample of rows by a hash of their content.

Which rows are in depends on what the rows hold and on the seed, never on the file, shard or
order that they came in. Equal rows are one entry that carries their weight.
"""

from dataclasses import dataclass

import numpy as np

MIN_ROWS = 1 << 16
ROWS_PER_PROTOTYPE = 64
MAX_BYTES = 256 << 20


def sample_capacity(features: int, prototypes: int) -> int:
    """Rows to keep for d features and k prototypes: at least 2**16, at most 256 MB."""
    wanted = max(MIN_ROWS, ROWS_PER_PROTOTYPE * prototypes)
    return max(prototypes, min(wanted, MAX_BYTES // (8 * features)))


@dataclass(frozen=True)
class Sample:
    """The distinct rows with the smallest hashes, in the order of their hashes.

    Attributes:
        rows: (m, d) float64, in the input's units.
        hashes: (m,) uint64, ascending, distinct.
        weights: (m,) float64, the weight of all rows equal to this one.
        capacity: the largest m.
    """

    rows: np.ndarray
    hashes: np.ndarray
    weights: np.ndarray
    capacity: int

    @classmethod
    def zero(cls, features: int, capacity: int) -> "Sample":
        return cls(np.empty((0, features)), np.empty(0, np.uint64), np.empty(0), capacity)

    @classmethod
    def of(cls, rows: np.ndarray, weights: np.ndarray, seed: int, capacity: int) -> "Sample":
        """The sample of (n, d) float64 rows with (n,) float64 weights; rows of weight 0 are out."""
        used = weights > 0
        if not used.all():
            rows, weights = rows[used], weights[used]
        hashes = hash_rows(rows, seed)
        if len(hashes) > 4 * capacity:
            limit = np.partition(hashes, 2 * capacity)[2 * capacity]
            kept = _bottom(rows, hashes, weights, hashes <= limit, capacity)
            if len(kept.hashes) == capacity:
                return kept
        return _bottom(rows, hashes, weights, slice(None), capacity)

    def __add__(self, other: "Sample") -> "Sample":
        return _bottom(
            np.concatenate([self.rows, other.rows]),
            np.concatenate([self.hashes, other.hashes]),
            np.concatenate([self.weights, other.weights]),
            slice(None),
            self.capacity,
        )

    @property
    def full(self) -> bool:
        """Whether there may be distinct rows that the sample left out."""
        return len(self.hashes) == self.capacity

    def estimated_weight(self) -> float:
        """What the sample says of the total weight of all rows; exact when it is not full."""
        total = float(self.weights.sum())
        return total / (float(self.hashes[-1]) / 2.0**64) if self.full else total


def hash_rows(rows: np.ndarray, seed: int) -> np.ndarray:
    """(n, d) float64 -> (n,) uint64; -0 and 0 hash alike.

    Every feature's bits go through the finaliser of SplitMix64 (Steele, Lea and Flood 2014).
    """
    bits = (rows + 0.0).view(np.uint64)
    hashes = np.full(len(rows), np.uint64(seed & (2**64 - 1)))
    for column in bits.T:
        hashes ^= column
        hashes += np.uint64(0x9E3779B97F4A7C15)
        hashes ^= hashes >> np.uint64(30)
        hashes *= np.uint64(0xBF58476D1CE4E5B9)
        hashes ^= hashes >> np.uint64(27)
        hashes *= np.uint64(0x94D049BB133111EB)
        hashes ^= hashes >> np.uint64(31)
    return hashes


def _bottom(rows, hashes, weights, chosen, capacity: int) -> Sample:
    distinct, first, entry = np.unique(hashes[chosen], return_index=True, return_inverse=True)
    total = np.bincount(entry, weights[chosen], len(distinct))
    kept = first[:capacity]
    return Sample(rows[chosen][kept], distinct[:capacity], total[:capacity], capacity)
