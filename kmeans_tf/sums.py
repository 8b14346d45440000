"""Exact sums over the points of a chunk, by label."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse

from kmeans_tf.exact import exact_sum, two_product
from kmeans_tf.fixed_point import LIMB_BITS, FixedPoint
from kmeans_tf.layout import SumLayout
from kmeans_tf.narrow import side_by_side
from kmeans_tf.points import Points
from kmeans_tf.stats import ClusterStats

_PIECE_ROWS = 1 << 12  # that are added at once, ...
_ROWS_PER_PROTOTYPE = 4  # ... or as many as are worth their sums
_PIECE_SUMS = 1 << 17  # that they are added to at once: 1 MB, which stays in cache
_ROUNDS = 1.5 * 2.0**52  # times a power of two: added and taken off, it leaves a multiple of that
_WORTH_MOVING = 0.3  # of the points: where more have moved, all are added anew


def weight_counts(limbs: FixedPoint, points: Points) -> np.ndarray:
    """(w, n) float64 whole numbers: the limbs of the points' weights in their quanta."""
    if points.weights is None:
        return np.ones((1, points.rows))
    return np.ascontiguousarray(limbs.split(points.weights[:, None]).T) / limbs.quantum[:, None]


@dataclass(frozen=True)
class Addends:
    """n weighted points, or gradients, to be added by label.

    Attributes:
        limbs: how they are cut.
        weights: (w, n) float64, see `weight_counts`.
        take: gives some of them (m, d) float64, in some columns.
    """

    limbs: FixedPoint
    weights: np.ndarray
    take: Callable[[slice | np.ndarray, slice], np.ndarray]

    def of(self, values: np.ndarray) -> "Addends":
        """Other values (n, d) float64 with the same weights."""
        return replace(self, take=lambda *place: values[place])

    def zero(self, k: int) -> ClusterStats:
        """Nothing yet."""
        return ClusterStats.zero(k, len(self.weights), len(self.limbs.column))

    def add(self, total: ClusterStats, labels: np.ndarray, sign: int = 1) -> None:
        """Adds all of them by their labels (n,) int32, in place, or takes them off.

        A sparse matrix of the weights times the limbs: no sort. Nothing of the size of the sums is
        made on the way: they are taken some rows and some columns at a time, which stay in cache.
        Of more prototypes than rows only those are touched that have some.
        """
        present: slice | np.ndarray = slice(None)
        if 0 < len(labels) < len(total.rows):
            present, labels = np.unique(labels, return_inverse=True)
        k, n, count = len(total.rows[present]), len(labels), len(self.limbs.column)
        total.rows[present] += sign * np.bincount(labels, minlength=k)
        for column, weight in zip(total.weight.T, self.weights, strict=True):
            column[present] += sign * np.bincount(labels, weight, k).astype(np.int64)
        step = max(_PIECE_ROWS, _ROWS_PER_PROTOTYPE * k)
        blocks = list(self.limbs.blocks(max(1, _PIECE_SUMS // k)))
        for start in range(0, n, step):
            rows = slice(start, min(start + step, n))
            chosen = [_by_label(sign * w[rows], labels[rows], k) for w in self.weights]
            for block in blocks:
                limbs = block.limbs.split(self.take(rows, block.columns))
                for first, matrix in zip(range(0, total.sums.shape[1], count), chosen, strict=True):
                    place = slice(first + block.places.start, first + block.places.stop)
                    total.sums[present, place] += block.limbs.count(matrix @ limbs)

    def moved(self, stats: ClusterStats, before: np.ndarray, labels: np.ndarray) -> ClusterStats:
        """Their stats by labels (n,) int32, from those by the labels before."""
        places = np.flatnonzero(labels != before)
        if len(places) > _WORTH_MOVING * len(labels):
            total = self.zero(len(stats.rows))
            self.add(total, labels)
            return total
        total = stats.copy()
        if len(places):
            values = self.take(places, slice(None))
            some = replace(self, weights=self.weights[:, places]).of(values)
            some.add(total, before[places], -1)
            some.add(total, labels[places])
        return total


def _by_label(weights: np.ndarray, labels: np.ndarray, k: int) -> scipy.sparse.csc_array:
    """(k, n): a column for each row, with its weight at its label."""
    n = len(labels)
    return scipy.sparse.csc_array((weights, labels, np.arange(n + 1)), shape=(k, n))


def squares(layout: SumLayout, points: Points) -> int:
    """The exact sum of the points' weighted squared lengths; see `kmeans_tf.exact`."""
    if points.weights is None and points.fine is None and layout.fits_limb:
        return _squares_of_quanta(np.asarray(layout.encoding.quantum), points.array)
    values = points.take(slice(None)).ravel()
    # The square of a float32 number is exact, that of two takes a second number.
    parts = (values * values,) if points.fine is None else two_product(values, values)
    weights = points.weights
    if weights is not None:
        weights = np.repeat(weights, values.size // max(1, points.rows))
    return sum(weighted_sum(weights, part) for part in parts)


def _squares_of_quanta(quantum: np.ndarray, points: np.ndarray) -> int:
    """The exact sum of squares of points (n, d) float32 below 2**LIMB_BITS quanta (d,)."""
    wide, rest = side_by_side(points)
    quanta = np.tile(quantum, wide.shape[1] // len(quantum))
    return _column_squares(quanta, wide) + _column_squares(quantum, rest)


def _column_squares(quantum: np.ndarray, points: np.ndarray) -> int:
    """What `_squares_of_quanta` gives, column by column.

    A square is a whole number below 2**(2 LIMB_BITS); its halves add up in float64 in any order.
    """
    round_to = quantum * quantum * 2.0**LIMB_BITS * _ROUNDS
    coarse, fine = np.zeros(len(quantum)), np.zeros(len(quantum))
    size = max(1, _PIECE_SUMS // len(quantum))
    for start in range(0, len(points), size):
        squared = points[start : start + size].astype(np.float64)
        squared *= squared
        high = squared + round_to
        high -= round_to
        squared -= high
        coarse += high.sum(0)
        fine += squared.sum(0)
    return exact_sum(coarse) + exact_sum(fine)


def weighted_sum(weights: np.ndarray | None, values: np.ndarray) -> int:
    """The exact sum of (n,) float64 values times weights; see `kmeans_tf.exact`."""
    if weights is None:
        return exact_sum(values)
    product, error = two_product(weights, values)
    return exact_sum(product) + exact_sum(error)
