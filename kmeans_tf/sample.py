"""Samples of rows that depend on what the rows hold and on the seed alone.

Every row has a rank, and the m rows of the smallest ranks are in, never mind the file, shard or
order that they came in. Equal rows are one entry that carries their weight. The rank is a hash of
the row's content u, which gives every distinct row the same chance; or u over a size, which gives
it one in proportion to the size (sequential Poisson sampling, Ohlsson 1998).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kmeans_tf.exact import ExactVector
from kmeans_tf.splitmix import STEP, mix

MIN_ROWS = 1 << 16
ROWS_PER_PROTOTYPE, LEAST_ROWS_PER_PROTOTYPE = 64, 8
MAX_BYTES = 64 << 20  # a machine of 2 GB bears it, with all that is made of it; ...
MOST_BYTES = 96 << 20  # ... and this, where many prototypes need it


_HASHED_ROWS, _HASHED_COLUMNS = 1 << 15, 16  # at a time: more leave the cache, fewer threads wait


def sample_capacity(features: int, prototypes: int) -> int:
    """Rows to keep for d features and k prototypes.

    2**16, or 64 for each prototype, as far as 64 MB hold them; at least 8 for each prototype, as
    far as 96 MB hold those; at least one for each.
    """
    row = 8 * features
    wanted = max(MIN_ROWS, ROWS_PER_PROTOTYPE * prototypes)
    least = min(LEAST_ROWS_PER_PROTOTYPE * prototypes, MOST_BYTES // row)
    return max(prototypes, least, min(wanted, MAX_BYTES // row))


def drawn_capacity(prototypes: int, features: int) -> int:
    """Rows to draw by their cost, for k prototypes of d features."""
    return max(prototypes, sample_capacity(features, prototypes) // 4)


@dataclass(frozen=True)
class Sample:
    """The distinct rows with the smallest ranks, in the order of their ranks.

    Attributes:
        rows: (m, d) float32 or float64 as they were read, in the input's units.
        ranks: (m,) uint64, ascending, distinct.
        totals: (m,) the exact weight of all rows equal to this one.
        capacity: the largest m.
    """

    rows: np.ndarray
    ranks: np.ndarray
    totals: ExactVector
    capacity: int

    @classmethod
    def zero(cls, features: int, capacity: int) -> "Sample":
        totals = ExactVector.of(np.empty(0))
        rows = np.empty((0, features), np.float32)
        return cls(rows, np.empty(0, np.uint64), totals, capacity)

    @classmethod
    def of(
        cls,
        rows: np.ndarray,
        weights: np.ndarray,
        seed: int,
        capacity: int,
        highest: int | None = None,
    ) -> "Sample":
        """The sample of (n, d) rows with (n,) float64 weights; rows of weight 0 are out.

        Rows are float32 or float64, and equal where their numbers are.

        Args:
            highest: rows of a larger rank may be left out, because a sample that this one will be
                added to is full of smaller ones; see `highest`.
        """
        ranks = hash_rows(rows, seed)
        used = weights > 0
        if highest is not None:
            used &= ranks <= np.uint64(highest)
        if not used.all():
            rows, weights, ranks = rows[used], weights[used], ranks[used]
        return _bottom(rows, ranks, ExactVector.of(weights), capacity)

    @classmethod
    def by_size(
        cls,
        rows: np.ndarray,
        weights: np.ndarray,
        sizes: np.ndarray,
        seed: int,
        capacity: int,
        highest: int | None = None,
    ) -> "Sample":
        """The sample of (n, d) rows whose chances are as their sizes (n,) float64 from 0.

        Equal rows of another size are other entries. That of their total is not known before all
        rows are: of rows that many parts have a little of, none might be among a part's first, and
        all together would be. Without their weights in the sizes heavy rows would be missed.

        Args:
            highest: see `of`.
        """
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ranks = _uniform(rows, seed) / sizes
        used = (weights > 0) & np.isfinite(ranks)
        bits = ranks.view(np.uint64)  # floats from 0 are in the order of their bits
        if highest is not None:
            used &= bits <= np.uint64(highest)
        return _bottom(rows[used], bits[used], ExactVector.of(weights[used]), capacity)

    def chances(self, seed: int) -> np.ndarray:
        """(m,) float64: how likely each entry of a sample by size was to be in it."""
        if not self.full:
            return np.ones(len(self.ranks))
        ranks = self.ranks.view(np.float64)
        return np.minimum(1.0, _uniform(self.rows, seed) / ranks * ranks[-1])

    @property
    def size_chance(self) -> float:
        """The chance of an entry over its size, in a sample by size; infinite if all are in."""
        return float(self.ranks.view(np.float64)[-1]) if self.full else np.inf

    def __add__(self, other: "Sample") -> "Sample":
        return Sample.joined([self, other])

    @classmethod
    def joined(cls, samples: Sequence["Sample"]) -> "Sample":
        """The sum of some samples of one capacity, one at least."""
        if len(samples) == 1:
            return samples[0]
        capacity = samples[0].capacity
        ranks = np.concatenate([sample.ranks for sample in samples])
        distinct, first, entry = np.unique(ranks, return_index=True, return_inverse=True)
        distinct, first = distinct[:capacity], first[:capacity]
        used = entry < len(distinct)  # what is left out needs no sum
        totals = ExactVector.joined([sample.totals for sample in samples])
        totals = totals[used].grouped(entry[used], len(distinct))
        kind = np.result_type(*(sample.rows for sample in samples))
        rows = np.empty((len(distinct), samples[0].rows.shape[1]), kind)
        start = 0
        for sample in samples:
            mine = (first >= start) & (first < start + len(sample.ranks))
            rows[mine] = sample.rows[first[mine] - start]
            start += len(sample.ranks)
        return cls(rows, distinct, totals, capacity)

    def with_rows(self, rows: np.ndarray, kept: np.ndarray) -> "Sample":
        """The sample with other content (m, d) in its rows, and only those that are kept (m,).

        Rows whose content is now the same are one entry, at the first of their ranks.
        """
        places = np.flatnonzero(kept)
        _, first, entry = np.unique(
            rows[places] + 0.0, axis=0, return_index=True, return_inverse=True
        )
        order = np.argsort(first)  # np.unique sorts by content, a sample by hash
        rank = np.argsort(order)
        chosen = places[first[order]]
        totals = self.totals[places].grouped(rank[entry.ravel()], len(chosen))
        # Where rows were left out they still are, though fewer stand for them.
        capacity = len(chosen) if self.full else self.capacity
        return Sample(rows[chosen] + 0.0, self.ranks[chosen], totals, capacity)

    @property
    def weights(self) -> np.ndarray:
        """(m,) float64, the weight of all rows equal to this one."""
        return self.totals.to_floats()

    @property
    def full(self) -> bool:
        """Whether there may be distinct rows that the sample left out."""
        return len(self.ranks) == self.capacity

    @property
    def highest(self) -> int | None:
        """The hash beyond which no row can come in; None if every row can."""
        return int(self.ranks[-1]) if self.full else None

    @property
    def chance(self) -> float:
        """How likely each distinct row was to be in it, in a sample by hash."""
        return float(self.ranks[-1]) / 2.0**64 if self.full else 1.0

    def estimated_weight(self) -> float:
        """What the sample says of the total weight of all rows; exact when it is not full."""
        return float(self.weights.sum()) / self.chance


def _uniform(rows: np.ndarray, seed: int) -> np.ndarray:
    """(n,) float64 in (0, 1], of the rows' content; independent of `hash_rows` with that seed."""
    return ((hash_rows(rows, ~seed) >> np.uint64(11)).astype(np.float64) + 1.0) * 2.0**-53


def hash_rows(rows: np.ndarray, seed: int) -> np.ndarray:
    """(n, d) float32 or float64 -> (n,) uint64, by the numbers; -0 and 0 hash alike.

    Every feature's bits go through the finaliser of SplitMix64 (Steele, Lea and Flood 2014).
    """
    hashes = np.full(len(rows), np.uint64(seed & (2**64 - 1)))
    for start in range(0, len(rows), _HASHED_ROWS):
        some = slice(start, start + _HASHED_ROWS)
        for first in range(0, rows.shape[1], _HASHED_COLUMNS):
            _hash_into(hashes[some], rows[some, first : first + _HASHED_COLUMNS])
    return hashes


def _hash_into(hashes: np.ndarray, rows: np.ndarray) -> None:
    scratch = np.empty_like(hashes)
    columns = np.add(rows.T, 0.0, order="C", dtype=np.float64)  # each contiguous
    for column in columns.view(np.uint64):
        hashes ^= column
        hashes += STEP
        mix(hashes, scratch)


def _bottom(rows: np.ndarray, ranks: np.ndarray, weights: ExactVector, capacity: int) -> Sample:
    distinct, first, entry = np.unique(ranks, return_index=True, return_inverse=True)
    if len(distinct) > capacity:  # what is left out needs no sum
        used = entry < capacity
        weights, entry = weights[used], entry[used]
    distinct = distinct[:capacity]
    kept = rows[first[:capacity]]
    kept += 0.0  # of -0 and 0, always 0
    return Sample(kept, distinct, weights.grouped(entry, len(distinct)), capacity)
