"""A bottom-m sample of rows by a hash of their content.

Which rows are in depends on what the rows hold and on the seed, never on the file, shard or
order that they came in. Equal rows are one entry that carries their weight.
"""

from dataclasses import dataclass

import numpy as np

from kmeans_tf.exact import ExactVector

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
        totals: (m,) the exact weight of all rows equal to this one.
        capacity: the largest m.
    """

    rows: np.ndarray
    hashes: np.ndarray
    totals: ExactVector
    capacity: int

    @classmethod
    def zero(cls, features: int, capacity: int) -> "Sample":
        totals = ExactVector.of(np.empty(0))
        return cls(np.empty((0, features)), np.empty(0, np.uint64), totals, capacity)

    @classmethod
    def of(
        cls,
        rows: np.ndarray,
        weights: np.ndarray,
        seed: int,
        capacity: int,
        highest: int | None = None,
    ) -> "Sample":
        """The sample of (n, d) float64 rows with (n,) float64 weights; rows of weight 0 are out.

        Args:
            highest: rows of a larger hash may be left out, because a sample that this one will be
                added to is full of smaller ones; see `highest`.
        """
        hashes = hash_rows(rows, seed)
        used = weights > 0
        if highest is not None:
            used &= hashes <= np.uint64(highest)
        if not used.all():
            rows, weights, hashes = rows[used], weights[used], hashes[used]
        return _bottom(rows, hashes, ExactVector.of(weights), capacity)

    def __add__(self, other: "Sample") -> "Sample":
        return _bottom(
            np.concatenate([self.rows, other.rows]),
            np.concatenate([self.hashes, other.hashes]),
            self.totals.joined(other.totals),
            self.capacity,
        )

    def with_rows(self, rows: np.ndarray, kept: np.ndarray) -> "Sample":
        """The sample with other content (m, d) in its rows, and only those that are kept (m,).

        Rows whose content is now the same are one entry, at the first of their hashes.
        """
        places = np.flatnonzero(kept)
        _, first, entry = np.unique(
            rows[places] + 0.0, axis=0, return_index=True, return_inverse=True
        )
        order = np.argsort(first)  # np.unique sorts by content, a sample by hash
        rank = np.argsort(order)
        chosen = places[first[order]]
        totals = self.totals[places].grouped(rank[entry.ravel()], len(chosen))
        return Sample(rows[chosen] + 0.0, self.hashes[chosen], totals, self.capacity)

    @property
    def weights(self) -> np.ndarray:
        """(m,) float64, the weight of all rows equal to this one."""
        return self.totals.to_floats()

    @property
    def full(self) -> bool:
        """Whether there may be distinct rows that the sample left out."""
        return len(self.hashes) == self.capacity

    @property
    def highest(self) -> int | None:
        """The hash beyond which no row can come in; None if every row can."""
        return int(self.hashes[-1]) if self.full else None

    def estimated_weight(self) -> float:
        """What the sample says of the total weight of all rows; exact when it is not full."""
        total = float(self.weights.sum())
        return total / (float(self.hashes[-1]) / 2.0**64) if self.full else total


def hash_rows(rows: np.ndarray, seed: int) -> np.ndarray:
    """(n, d) float64 -> (n,) uint64; -0 and 0 hash alike.

    Every feature's bits go through the finaliser of SplitMix64 (Steele, Lea and Flood 2014).
    """
    bits = np.asfortranarray(rows + 0.0).view(np.uint64)  # column by column: each contiguous
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


def _bottom(rows: np.ndarray, hashes: np.ndarray, weights: ExactVector, capacity: int) -> Sample:
    distinct, first, entry = np.unique(hashes, return_index=True, return_inverse=True)
    if len(distinct) > capacity:  # what is left out needs no sum
        used = entry < capacity
        weights, entry = weights[used], entry[used]
    distinct = distinct[:capacity]
    kept = rows[first[:capacity]] + 0.0  # of -0 and 0, always 0
    return Sample(kept, distinct, weights.grouped(entry, len(distinct)), capacity)
